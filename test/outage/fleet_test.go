package outage_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"berth/test/harness"
)

const ships = 10

// sessionUnderLoad is a session, and what must not change.
type sessionUnderLoad struct {
	id, token string
	history   string // what its server remembers
	container string
}

// fleet is a Berth with running sessions.
type fleet struct {
	*harness.Env
	t     *testing.T
	ships []sessionUnderLoad
}

// newFleet has ten sessions, each of which remembers something.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{Env: harness.NewStub(t), t: t, ships: make([]sessionUnderLoad, ships)}
	f.Vars["CONTAINER_HEALTH_CHECK_INTERVAL"] = "2"
	f.StartServe()
	var wg sync.WaitGroup
	for i := range f.ships {
		wg.Go(func() {
			a, err := f.Try(t.Context(), http.MethodPost, "/sessions", f.AdminToken(), "{}")
			if err != nil || a.Status != http.StatusCreated {
				t.Errorf("create a session: got %s, %v", a, err)
				return
			}
			s := sessionUnderLoad{id: a.Field("session_id"), token: a.Field("token"), container: a.Field("container_id")}
			if a, err = f.Try(t.Context(), http.MethodPost, "/s/"+s.id+"/session", s.token, "{}"); err != nil || a.Status != http.StatusOK {
				t.Errorf("write into the session: got %s, %v", a, err)
			}
			a, _ = f.Try(t.Context(), http.MethodGet, "/s/"+s.id+"/session", s.token, "")
			s.history = string(a.Body)
			f.ships[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	f.areHealthy(30 * time.Second)
	return f
}

// states is the health of each session.
func (f *fleet) states(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range f.ships {
		a, err := f.Try(ctx, http.MethodGet, "/health/container/"+s.id, f.AdminToken(), "")
		if err != nil {
			return nil, err
		}
		all[s.id] = a.Field("state")
	}
	return all, nil
}

// areHealthy waits until every session runs, is healthy, and has no operation in progress.
func (f *fleet) areHealthy(within time.Duration) {
	f.t.Helper()
	harness.Eventually(f.t, within, "every session is healthy", func() error {
		all, err := f.Sessions(f.t.Context())
		if err != nil {
			return err
		}
		states, err := f.states(f.t.Context())
		if err != nil {
			return err
		}
		for _, s := range f.ships {
			if is := all[s.id]; is.Status != "running" || is.Operation != nil || states[s.id] != "HEALTHY" {
				return fmt.Errorf("%+v, %s", is, states[s.id])
			}
		}
		if len(all) != len(f.ships) {
			return fmt.Errorf("%d sessions, want %d", len(all), len(f.ships))
		}
		return nil
	})
}

// remember checks that every session's server still has what was written, for the token of before.
func (f *fleet) remember() {
	f.t.Helper()
	for _, s := range f.ships {
		if a := f.Call(http.MethodGet, "/s/"+s.id+"/session", s.token, ""); a.Status != http.StatusOK || string(a.Body) != s.history {
			f.t.Errorf("session %s has %s, want %s", s.id, a, s.history)
		}
	}
}

// restarts counts the restarts of each session.
func (f *fleet) restarts() map[string]int {
	f.t.Helper()
	all, err := f.Sessions(f.t.Context())
	harness.Must(f.t, err)
	counts := map[string]int{}
	for id, s := range all {
		counts[id] = s.Restarts
	}
	return counts
}

// watch notes every health that sessions are shown with until it is stopped, and returns them sorted.
func (f *fleet) watch() (stop func() []string) {
	seen := map[string]bool{}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				states, _ := f.states(f.t.Context()) // an API that does not answer is found by others
				for _, state := range states {
					seen[state] = true
				}
			}
		}
	}()
	return func() []string {
		close(done)
		<-over
		return slices.Sorted(maps.Keys(seen))
	}
}

// after waits.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
