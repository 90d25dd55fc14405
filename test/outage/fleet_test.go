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

const sessionCount = 10

// sessionUnderLoad is a session with the values that must not change.
type sessionUnderLoad struct {
	id, token string
	history   string // state of its server
	container string
}

// fleet is a Berth with running sessions.
type fleet struct {
	*harness.Env
	t        *testing.T
	sessions []sessionUnderLoad
}

// newFleet starts a Berth with ten sessions, each with some state.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{Env: harness.NewStub(t), t: t, sessions: make([]sessionUnderLoad, sessionCount)}
	f.Vars["CONTAINER_HEALTH_CHECK_INTERVAL"] = "2"
	f.StartServe()
	var wg sync.WaitGroup
	for i := range f.sessions {
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
			f.sessions[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	f.areHealthy(30 * time.Second)
	return f
}

// states returns the health of each session.
func (f *fleet) states(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range f.sessions {
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
		for _, s := range f.sessions {
			if is := all[s.id]; is.Status != "running" || is.Operation != nil || states[s.id] != "HEALTHY" {
				return fmt.Errorf("%+v, %s", is, states[s.id])
			}
		}
		if len(all) != len(f.sessions) {
			return fmt.Errorf("%d sessions, want %d", len(all), len(f.sessions))
		}
		return nil
	})
}

// checkState checks that every session's server still has its state, and accepts the same token.
func (f *fleet) checkState() {
	f.t.Helper()
	for _, s := range f.sessions {
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

// watch collects the health states of all sessions until it is stopped, and returns them sorted.
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
				states, _ := f.states(f.t.Context()) // other checks detect an API that does not answer
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

// after waits for d, or fails the test at its end.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
