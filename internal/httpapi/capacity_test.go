package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

func TestHealthResourceFieldsMatchContract(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w.health.Status = "degraded"
	w.health.ResourceLimits = &httpapi.ResourceLimits{MemoryLimit: 4 << 30, CPUQuota: 100_000, MaxConcurrentSessions: 3}
	w.health.Resources = &httpapi.SystemResources{Status: "critical", Host: "engine", Memory: new(0.96), CPU: new(0.45), MeasuredAt: &at}
	w.health.Alerts = []httpapi.ResourceAlert{{
		Resource: "memory", Level: "critical", Value: 0.96, Threshold: 0.95, Since: at, Message: "host memory at 96 %, critical from 95 %",
	}}
	a := w.call(http.MethodGet, "/health", adminToken, "")
	got := decode[map[string]json.RawMessage](t, a)
	for name, want := range map[string]string{
		"status":           `"degraded"`,
		"resource_limits":  `{"memory_limit":"4g","cpu_quota":100000,"max_concurrent_sessions":3}`,
		"system_resources": `{"status":"critical","host":"engine","memory_percent":0.96,"cpu_percent":0.45,"measured_at":"2026-01-02T03:04:05Z"}`,
		"resource_alerts": `[{"resource":"memory","level":"critical","value":0.96,"threshold":0.95,"since":"2026-01-02T03:04:05Z",` +
			`"message":"host memory at 96 %, critical from 95 %"}]`,
	} {
		if diff := cmp.Diff(want, string(got[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if public := w.call(http.MethodGet, "/health", "", ""); a.status != http.StatusOK || strings.TrimSpace(string(public.body)) != `{"status":"degraded"}` {
		t.Errorf("got %d, and an unauthenticated client sees %s; want 200, and the status only", a.status, public.body)
	}
	w.health.Alerts = []httpapi.ResourceAlert{}
	if got := decode[map[string]json.RawMessage](t, w.call(http.MethodGet, "/health", adminToken, "")); string(got["resource_alerts"]) != "[]" {
		t.Errorf("resource_alerts without any is %s, want an empty list", got["resource_alerts"])
	}
}

// Two hundred concurrent callers get exactly as many sessions as there are slots, in any order, and all others get the same
// error.
func TestConcurrentCreatesReachExactlyTheLimit(t *testing.T) {
	t.Parallel()
	const callers, slots = 200, 7
	w := newFixture(t, func(o *lifecycle.Options) { o.MaxSessions = slots })
	var mu sync.Mutex
	made, refused := 0, 0
	begin := make(chan struct{})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			<-begin
			a := w.call(http.MethodPost, "/sessions", adminToken, `{}`)
			mu.Lock()
			defer mu.Unlock()
			if a.status == http.StatusCreated {
				made++
				return
			}
			refused++
			p := a.problem(t)
			if a.status != http.StatusTooManyRequests || p.Code != session.CodeLimit || a.header.Get("Retry-After") != "30" ||
				!strings.HasPrefix(p.Detail, "7 of 7 sessions running; ") {
				t.Errorf("got %d, Retry-After %q, %s; want 429 with the reason and when to try again", a.status, a.header.Get("Retry-After"), a.body)
			}
		})
	}
	close(begin)
	all.Wait()
	if made != slots || refused != callers-slots {
		t.Errorf("%d creates succeeded and %d were refused, want %d and %d", made, refused, slots, callers-slots)
	}
	page, err := w.List(t.Context(), session.Query{Statuses: []session.Status{session.Creating, session.Running}})
	if err != nil || len(page.Sessions) != slots {
		t.Errorf("there are %d sessions (%v), want %d", len(page.Sessions), err, slots)
	}
	if containers, err := w.Engine.List(t.Context()); err != nil || len(containers) != slots {
		t.Errorf("there are %d containers (%v), want %d", len(containers), err, slots)
	}
}
