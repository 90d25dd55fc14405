package contract_test

import (
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// states notes every state that a session's container is seen in until stop is called.
func states(t *testing.T, w *harness.Env, id string) (stop func() []string) {
	t.Helper()
	var seen []string
	done, over := make(chan struct{}), make(chan struct{})
	admin := w.AdminToken()
	go func() {
		defer close(over)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				a, err := w.Try(t.Context(), http.MethodGet, "/health/container/"+id, admin, "")
				if state := a.Field("state"); err == nil && state != "" && !slices.Contains(seen, state) {
					seen = append(seen, state)
				}
			case <-done:
				return
			}
		}
	}()
	return sync.OnceValue(func() []string { close(done); <-over; return seen })
}

// A server fails, is restarted once, fails again, and has no restarts left; then the engine becomes unavailable.
func containersAreHealed(t *testing.T) {
	w := fileEnv(t, map[string]string{
		"CONTAINER_HEALTH_CHECK_INTERVAL": "1", "CONTAINER_FAILURE_THRESHOLD": "2", "CONTAINER_MAX_RESTART_ATTEMPTS": "1", "CONTAINER_RESTART_DELAY": "1",
	})
	admin := w.AdminToken()
	id, token := w.Create("{}")
	other, _ := w.Create("{}")
	become := func(id, state string) {
		t.Helper()
		harness.Eventually(t, 30*time.Second, id+" is "+state, func() error {
			if a := w.Call(http.MethodGet, "/health/container/"+id, admin, ""); a.Field("state") != state {
				return errorf("got %s", a)
			}
			return nil
		})
	}
	become(id, "HEALTHY")
	seen := states(t, w, id)
	if a := w.Call(http.MethodPost, "/s/"+id+"/behave?as=broken", token, ""); a.Status != http.StatusOK {
		t.Fatalf("got %s", a)
	}
	become(id, "UNHEALTHY")
	become(id, "HEALTHY") // after a restart, which the server forgets its manners with
	if a := w.Call(http.MethodGet, "/sessions/"+id, admin, ""); member[float64](t, a, "restart_count") != 1 {
		t.Errorf("got %s, want one restart", a)
	}
	if a := w.Call(http.MethodPost, "/s/"+id+"/behave?as=broken", token, ""); a.Status != http.StatusOK {
		t.Fatalf("got %s", a)
	}
	become(id, "FAILED")
	if a := w.Call(http.MethodGet, "/sessions/"+id, admin, ""); a.Field("status") != "error" || a.Field("last_error") == "" {
		t.Errorf("the failed session: got %s, want error and why", a)
	}
	if got := seen(); !slices.Contains(got, "RESTARTING") {
		t.Errorf("got the states %v, want RESTARTING among them", got)
	}
	become(other, "HEALTHY")
	w.Guard.Signal(syscall.SIGKILL)
	become(other, "UNKNOWN")
	if a := w.Call(http.MethodGet, "/sessions/"+other, admin, ""); a.Field("status") != "running" || member[float64](t, a, "restart_count") != 0 {
		t.Errorf("while the engine is unavailable: got %s, want nothing restarted", a)
	}
}
