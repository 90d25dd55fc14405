package outage_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// downtime is how long the engine is unavailable.
const downtime = time.Minute

// The engine is killed and stays down while its containers keep running.
func TestEngineOutageOfOneMinute(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir, "--live-restore")
	f := newFleet(t)
	stop := f.watch()
	traffic := f.traffic()

	e.end(syscall.SIGKILL)
	after(t, downtime)
	e.start()
	f.areHealthy(30 * time.Second)

	answered, failed := traffic()
	if failed > 0 || answered < 1000 {
		t.Errorf("%d requests to the sessions were answered and %d failed, want at least 1000 answered and none failed", answered, failed)
	}
	if seen := stop(); slices.Contains(seen, "FAILED") || slices.Contains(seen, "RESTARTING") || slices.Contains(seen, "UNHEALTHY") {
		t.Errorf("got the states %v, want HEALTHY and UNKNOWN", seen)
	}
	f.checkState()
	all, err := f.Sessions(t.Context())
	harness.Must(t, err)
	for _, s := range f.sessions {
		if is := all[s.id]; is.Restarts != 0 || is.Container != s.container {
			t.Errorf("got %+v, want no restart and the container %s", is, s.container)
		}
	}
}

// traffic sends requests to every session's server until it is stopped, and counts the responses.
func (f *fleet) traffic() (stop func() (answered, failed int64)) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var good, bad atomic.Int64
	var wg sync.WaitGroup
	for _, s := range f.sessions {
		wg.Go(func() {
			tick := time.NewTicker(250 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				a, err := f.Try(ctx, http.MethodGet, "/s/"+s.id+"/session", s.token, "")
				switch {
				case ctx.Err() != nil:
				case err != nil || a.Status != http.StatusOK || string(a.Body) != s.history:
					if bad.Add(1) == 1 {
						f.t.Errorf("session %s: got %s, %v", s.id, a, err)
					}
				default:
					good.Add(1)
				}
			}
		})
	}
	return func() (int64, int64) {
		cancel()
		wg.Wait()
		return good.Load(), bad.Load()
	}
}
