package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/app"
	"berth/internal/pressure"
)

// host is a host whose load a test sets.
type host struct {
	mu     sync.Mutex
	sample pressure.Sample
	err    error
}

func (h *host) Sample(context.Context) (pressure.Sample, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sample, h.err
}

func (h *host) set(s pressure.Sample, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sample, h.err = s, err
}

// journal collects log output, for tests that read it while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// count returns the number of lines about memory with this level and message.
func (j *journal) count(t *testing.T, what string) int {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for line := range strings.Lines(j.text.String()) {
		var entry struct{ Level, Msg, Resource string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Level+" "+entry.Msg == what && entry.Resource == "memory" {
			n++
		}
	}
	return n
}

// health is the host's part of the operator's /health.
type health struct {
	Status    string
	Resources struct {
		Status, Host string
		Memory       *float64 `json:"memory_percent"`
		CPU          *float64 `json:"cpu_percent"`
		MemoryStall  *pressure.Stall
	} `json:"system_resources"`
	Alerts []struct {
		Resource, Level, Message string
		Value, Threshold         float64
		Since                    time.Time
	} `json:"resource_alerts"`
}

// becomes waits until the operator's /health has the wanted state.
func (b *berth) becomes(t *testing.T, what string, want func(health) bool) health {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		var h health
		if b.call(t, http.MethodGet, "/health", b.adminToken(t), &h); want(h) {
			return h
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s, but %+v", what, h)
		}
	}
}

func TestCreatesRefusedWhileHostCriticalThenAccepted(t *testing.T) {
	t.Parallel()
	machine, log := &host{}, &journal{}
	quiet := pressure.Sample{Memory: 0.65, CPU: 0.45, MemoryStall: &pressure.Stall{Some: 0.02}}
	machine.set(quiet, nil)
	cfg := settings(t)
	cfg.Limits.Critical = 0.95
	b := startWith(t, cfg, slog.New(slog.NewJSONHandler(log, nil)), app.WithPressure(func(o *pressure.Options) {
		o.Source, o.Interval, o.Hold, o.Stale = machine, 5*time.Millisecond, 100*time.Millisecond, 500*time.Millisecond
		o.MemorySmoothing = 20 * time.Millisecond
	}))
	isQuiet := func(h health) bool { return h.Resources.Status == "ok" && h.Status == "healthy" }
	h := b.becomes(t, "quiet", isQuiet)
	if h.Resources.Memory == nil || *h.Resources.Memory != 0.65 || *h.Resources.CPU != 0.45 || h.Resources.Host != "engine" || h.Alerts == nil || len(h.Alerts) != 0 {
		t.Errorf("a quiet host is shown as %+v, want the fractions and an empty list of alerts", h)
	}
	admin := b.adminToken(t)
	if resp, text := b.ask(t, http.MethodPost, "/sessions", admin); resp.StatusCode != http.StatusCreated {
		t.Fatalf("create on a quiet host: got %d %s", resp.StatusCode, text)
	}

	machine.set(pressure.Sample{Memory: 1, CPU: 0.45}, nil)
	h = b.becomes(t, "critical", func(h health) bool { return h.Resources.Status == "critical" })
	if h.Status != "degraded" || len(h.Alerts) != 1 || h.Alerts[0].Resource != "memory" || h.Alerts[0].Level != "critical" ||
		h.Alerts[0].Threshold != 0.95 || h.Alerts[0].Value < 0.95 || h.Alerts[0].Since.IsZero() ||
		!strings.HasPrefix(h.Alerts[0].Message, "host memory at 9") || !strings.HasSuffix(h.Alerts[0].Message, " %, critical from 95 %") {
		t.Errorf("a critical host is shown as %+v, want it degraded with one alert", h)
	}
	resp, text := b.ask(t, http.MethodPost, "/sessions", admin)
	var problem struct{ Code, Detail string }
	if err := json.Unmarshal([]byte(text), &problem); err != nil || resp.StatusCode != http.StatusServiceUnavailable || problem.Code != "resources_critical" ||
		resp.Header.Get("Retry-After") == "" || !strings.Contains(problem.Detail, " %, critical from 95 %; ") {
		t.Errorf("create on a critical host: got %d, Retry-After %q, %s", resp.StatusCode, resp.Header.Get("Retry-After"), text)
	}
	var unauthenticated map[string]any
	if status := b.call(t, http.MethodGet, "/health", "", &unauthenticated); status != http.StatusOK || len(unauthenticated) != 1 || unauthenticated["status"] != "degraded" {
		t.Errorf("an unauthenticated client sees %d %v, want the status only", status, unauthenticated)
	}
	metrics := b.metrics(t)
	for _, line := range []string{
		`berth_admission_refusals_total{reason="host_memory"} 1`, `berth_admission_refusals_total{reason="host_cpu"} 0`,
		`berth_admission_refusals_total{reason="session_limit"} 0`, `berth_host_pressure_level{resource="memory"} 2`,
		`berth_host_pressure_level{resource="cpu"} 0`, `berth_host_pressure_changes_total{level="critical",resource="memory"} 1`,
		`berth_host_cpu_ratio 0.4`, `berth_host_memory_ratio 0.9`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics have no %s", line)
		}
	}

	machine.set(quiet, nil)
	b.becomes(t, "quiet again", isQuiet)
	if resp, text := b.ask(t, http.MethodPost, "/sessions", admin); resp.StatusCode != http.StatusCreated {
		t.Errorf("create after the host has recovered: got %d %s", resp.StatusCode, text)
	}

	machine.set(pressure.Sample{}, errors.New("no sample"))
	h = b.becomes(t, "unknown", func(h health) bool { return h.Resources.Status == "unknown" })
	if h.Status != "healthy" || len(h.Alerts) != 0 || h.Resources.Memory == nil {
		t.Errorf("a host that is not known is shown as %+v, want the last values, healthy and without alerts", h)
	}
	if resp, text := b.ask(t, http.MethodPost, "/sessions", admin); resp.StatusCode != http.StatusCreated {
		t.Errorf("create on a host that is not known: got %d %s", resp.StatusCode, text)
	}
	if resp, text := b.ask(t, http.MethodPost, "/sessions", admin); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "30" ||
		!strings.Contains(text, "3 of 3 sessions running; ") {
		t.Errorf("a fourth create: got %d, Retry-After %q, %s", resp.StatusCode, resp.Header.Get("Retry-After"), text)
	}
	if metrics := b.metrics(t); !strings.Contains(metrics, `reason="session_limit"} 1`) || strings.Contains(metrics, "berth_host_memory_ratio ") {
		t.Error("want the limit counted as the reason, and none for a host that is not known")
	}
	// The level may pass through warning on its way up and down.
	for line, times := range map[string][2]int{
		"WARN host pressure is high": {0, 1}, "ERROR+4 host pressure is critical; no session is started": {1, 1},
		"INFO host pressure recovered": {1, 2}, "WARN host pressure is not known any more; sessions are started nevertheless": {1, 1},
	} {
		if n := log.count(t, line); n < times[0] || n > times[1] {
			t.Errorf("%q was logged %d times, want a line for each change", line, n)
		}
	}
}
