package outage_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// healers is how many sessions may be restarted at once by nobody's wish.
const healers = 4

// The engine is stopped with all containers on it, and comes back after a while with all of them down.
func TestEngineThatIsRestartedUnderTenSessions(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	f := newFleet(t)
	stop := f.watch()

	e.end(syscall.SIGTERM)
	after(t, time.Second) // what was being recorded is
	before := f.restarts()
	after(t, 5*time.Second)
	if now := f.restarts(); !maps.Equal(now, before) {
		t.Errorf("restarts while the engine is away: got %v, want %v as at its end", now, before)
	}
	e.start()
	f.areHealthy(90 * time.Second)
	if seen := stop(); slices.Contains(seen, "FAILED") {
		t.Errorf("got the states %v, want no session given up", seen)
	}
	f.remember()
	for id, n := range f.restarts() {
		if n < 1 || n > 2 { // one that died early may have been started on an engine that was about to stop
			t.Errorf("session %s was restarted %d times", id, n)
		}
	}
	if most := atOnce(t, f.Serve.Log); most < 1 || most > healers {
		t.Errorf("up to %d restarts at once, want 1 to %d", most, healers)
	}
}

// atOnce reads from a log how many restarts were in progress at once at most.
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
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Operation != "restart" || line.Took == 0 {
			continue
		}
		begun := line.At.Add(-time.Duration(line.Took * float64(time.Millisecond)))
		edges = append(edges, edge{begun.Add(5 * time.Millisecond), 1}, edge{line.At, -1}) // the end is written a little late
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.step, b.step)) })
	now, most := 0, 0
	for _, e := range edges {
		now += e.step
		most = max(most, now)
	}
	return most
}
