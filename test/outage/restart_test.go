package outage_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// maxRestarts is the limit of concurrent automatic starts.
const maxRestarts = 4

// The engine is stopped with all its containers, or killed, and restarts with all of them down, more often within ten minutes than a
// server may be restarted. No restart counts against a session.
func TestTenSessionsRecoverFromRepeatedEngineRestarts(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	f := newFleet(t)
	stop := f.watch()

	for round, how := range []struct {
		signal    syscall.Signal
		downtime  time.Duration
		berthDown bool // Berth is stopped before the engine, and started after it
	}{
		{signal: syscall.SIGTERM, downtime: 5 * time.Second},
		{signal: syscall.SIGTERM},
		{signal: syscall.SIGKILL, downtime: time.Second},
		{signal: syscall.SIGTERM, berthDown: true},
		{signal: syscall.SIGTERM, downtime: time.Second},
	} {
		t.Logf("round %d", round+1)
		if how.berthDown {
			f.Serve.Signal(os.Interrupt)
		}
		e.end(how.signal)
		after(t, how.downtime)
		e.start()
		if how.berthDown {
			f.StartServe()
		}
		f.areHealthy(90 * time.Second)
		for id, n := range f.restarts() {
			if n != 0 {
				t.Errorf("round %d: session %s has %d counted restarts, want none", round+1, id, n)
			}
		}
	}
	if seen := stop(); slices.Contains(seen, "FAILED") {
		t.Errorf("got the states %v, want no session FAILED", seen)
	}
	f.checkState()
	for _, s := range f.sessions {
		a := f.Call(http.MethodGet, "/sessions/"+s.id+"/events", f.AdminToken(), "")
		if body := string(a.Body); strings.Contains(body, "by itself") || !strings.Contains(body, "the engine was stopped or restarted") {
			t.Errorf("session %s has the timeline %s, want the engine named", s.id, body)
		}
	}
	if most := atOnce(t, f.Serve.Log); most < 1 || most > maxRestarts {
		t.Errorf("up to %d starts at once, want 1 to %d", most, maxRestarts)
	}
}

// atOnce returns the maximum of concurrent starts in a log.
func atOnce(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	harness.Must(t, err)
	type edge struct {
		at   time.Time
		step int
	}
	var edges []edge
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var line struct {
			At        time.Time `json:"timestamp"`
			Operation string    `json:"operation"`
			Message   string    `json:"message"`
			Took      float64   `json:"duration_ms"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Message != "operation done" || line.Operation != "start" {
			continue
		}
		begun := line.At.Add(-time.Duration(line.Took * float64(time.Millisecond)))
		edges = append(edges, edge{begun.Add(5 * time.Millisecond), 1}, edge{line.At, -1}) // the end is logged slightly late
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.step, b.step)) })
	now, most := 0, 0
	for _, e := range edges {
		now += e.step
		most = max(most, now)
	}
	return most
}
