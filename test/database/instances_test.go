package database_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// One of two instances is killed every few seconds for a minute. No acknowledged change is lost, no session has two containers,
// and the other instance answers every request.
func TestRepeatedKillOfOneInstanceLosesNothing(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	l := startLoad(t)
	for range 3 {
		id, token := w.Create(`{"owner":"user"}`)
		l.users(w.Env, id, token)
	}
	l.operator(w.Env, 3)
	l.operator(second, 3)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		pause(t.Context(), 4*time.Second)
		second.Serve.Signal(syscall.SIGKILL)
		second.LaunchServe()
	}
	l.end()
	harness.Eventually(t, 30*time.Second, "the killed instance is back", func() error {
		_, err := healthOf(t.Context(), second)
		return err
	})
	all := w.isConsistent(t, w.Env)
	l.kept(all)
	if there, err := second.Sessions(t.Context()); err != nil || len(there) != len(all) {
		t.Errorf("one instance knows %d sessions, the other %d (%v)", len(all), len(there), err)
	}
	for id, s := range all {
		if s.Status != "running" {
			continue
		}
		if token, ok := l.made[id]; ok {
			harness.Eventually(t, 5*time.Second, "both instances serve session "+id, func() error {
				for _, on := range []*harness.Env{w.Env, second} {
					if a, err := on.Try(t.Context(), http.MethodGet, "/s/"+id+"/global/health", token, ""); err != nil || a.Status == http.StatusBadGateway {
						return fmt.Errorf("%s answers %s: %w", on.URL, a, err)
					}
				}
				return nil
			})
		}
	}
}

func TestRotatedTokenIsRefusedByEveryInstanceWithinSecond(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	id, token := w.Create("")
	harness.Eventually(t, 5*time.Second, "the other instance serves the session", func() error { return serves(t, second, id, token, http.StatusOK) })
	for range 5 {
		a := w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "")
		fresh := a.Field("token")
		harness.Eventually(t, time.Second, "the other instance refuses the old token", func() error {
			return serves(t, second, id, token, http.StatusUnauthorized)
		})
		if err := serves(t, second, id, fresh, http.StatusOK); err != nil {
			t.Errorf("the new token: %v", err)
		}
		token = fresh
	}
}

func TestTokenGraceHoldsOnEveryInstanceAndAfterRestart(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	id, old := w.Create("")
	harness.Eventually(t, 5*time.Second, "the other instance serves the session", func() error { return serves(t, second, id, old, http.StatusOK) })
	fresh := w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate?grace=20s", old, "").Field("token")
	end := time.Now().Add(20 * time.Second)
	harness.Eventually(t, time.Second, "the other instance lets the new token in", func() error { return serves(t, second, id, fresh, http.StatusOK) })
	w.Serve.Signal(syscall.SIGKILL)
	w.StartServe()
	for _, on := range []*harness.Env{w.Env, second} {
		for _, token := range []string{old, fresh} {
			harness.Eventually(t, time.Until(end), "both tokens are let in", func() error { return serves(t, on, id, token, http.StatusOK) })
		}
	}
	second.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", fresh, "")
	for _, on := range []*harness.Env{w.Env, second} {
		harness.Eventually(t, time.Second, "a rotation without a grace ends both", func() error {
			return errors.Join(serves(t, on, id, old, http.StatusUnauthorized), serves(t, on, id, fresh, http.StatusUnauthorized))
		})
	}
}

func serves(t *testing.T, on *harness.Env, id, token string, want int) error {
	a, err := on.Try(t.Context(), http.MethodGet, "/s/"+id+"/global/health", token, "")
	if err == nil && a.Status != want {
		err = fmt.Errorf("got %s, want %d", a, want)
	}
	return err
}

//nolint:paralleltest // fifty containers start at once
func TestSessionLimitHoldsAcrossRacingInstances(t *testing.T) {
	const limit, creates = 50, 200
	w := newFixture(t)
	w.Vars["MAX_CONCURRENT_SESSIONS"] = fmt.Sprint(limit)
	w.Vars["SESSION_START_TIMEOUT"] = "400" // fifty containers at once, on a machine that has other tests
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	var accepted, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range creates {
		on := []*harness.Env{w.Env, second}[i%2]
		wg.Go(func() {
			a, err := on.Try(t.Context(), http.MethodPost, "/sessions", on.AdminToken(), "")
			switch {
			case err == nil && a.Status == http.StatusCreated:
				accepted.Add(1)
			case err == nil && a.Status == http.StatusTooManyRequests && a.Field("code") == "limit_reached":
				refused.Add(1)
			default:
				t.Errorf("create %d: got %s, %v; want 201 or 429", i, a, err)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != limit || refused.Load() != creates-limit {
		t.Errorf("%d created and %d refused, want %d and %d", accepted.Load(), refused.Load(), limit, creates-limit)
	}
	if all := w.isConsistent(t, second); len(all) != limit {
		t.Errorf("got %d sessions, want %d", len(all), limit)
	}
}

func TestInstancesListEachOther(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	alive := func(on *harness.Env, want int) func() error {
		return func() error {
			h, err := healthOf(t.Context(), on)
			if err != nil {
				return err
			}
			living, self := 0, 0
			for _, i := range h.Instances {
				if i.Alive {
					living++
				}
				if i.Self {
					self++
				}
			}
			if living != want || self != 1 {
				return fmt.Errorf("%d instances are alive and %d answer: %+v", living, self, h.Instances)
			}
			return nil
		}
	}
	harness.Eventually(t, 10*time.Second, "the first knows both", alive(w.Env, 2))
	harness.Eventually(t, 10*time.Second, "the second knows both", alive(second, 2))
	if a := w.Call(http.MethodGet, "/instances", w.AdminToken(), ""); a.Status != http.StatusOK {
		t.Errorf("GET /instances: got %s", a)
	}
	second.Serve.Signal(syscall.SIGKILL)
	harness.Eventually(t, 15*time.Second, "the killed one is listed as not alive", alive(w.Env, 1))
	second.StartServe()
	harness.Eventually(t, 10*time.Second, "it is back", alive(w.Env, 2))
	second.Serve.Signal(syscall.SIGTERM)
	harness.Eventually(t, 10*time.Second, "it has said good-bye", func() error {
		h, err := healthOf(t.Context(), w.Env)
		if err == nil && len(h.Instances) != 1 {
			err = fmt.Errorf("%+v", h.Instances)
		}
		return err
	})
}

// A restarted process finishes the operations of its predecessor, although the node keeps its name and another instance has
// half of the sessions.
func TestRestartedInstanceFinishesInterruptedOperations(t *testing.T) {
	t.Parallel()
	for _, instances := range []int{1, 2} {
		t.Run(fmt.Sprint(instances), func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			w.Vars["RECONCILE_INTERVAL"] = "300" // the restart itself has to be noticed
			w.StartServe()
			if instances == 2 {
				w.Sibling("second").StartServe()
			}
			const creates = 4
			for range creates {
				go func() {
					_, _ = w.Try(t.Context(), http.MethodPost, "/sessions", w.AdminToken(), `{"profile":"slow"}`)
				}()
			}
			harness.Eventually(t, 20*time.Second, "the creates are in progress", func() error {
				if n := len(w.Containers()); n == 0 {
					return errors.New("there is no container")
				}
				all, err := w.Sessions(t.Context())
				if err == nil && len(all) != creates {
					err = fmt.Errorf("%d of %d are recorded", len(all), creates)
				}
				return err
			})
			w.Serve.Signal(syscall.SIGKILL)
			pause(t.Context(), 2*time.Second) // less than a lease
			w.StartServe()
			begun := time.Now()
			harness.Eventually(t, 20*time.Second, "the creates are finished", func() error {
				all, err := w.Sessions(t.Context())
				for _, s := range all {
					if s.Operation != nil || s.Status != "running" {
						err = fmt.Errorf("%+v", s)
					}
				}
				return err
			})
			t.Logf("finished %s after the restart", time.Since(begun).Round(100*time.Millisecond))
			w.isConsistent(t, w.Env)
		})
	}
}

// The operations of a killed instance are finished by the other one, which detects the kill.
func TestWorkOfKilledInstanceIsTakenOver(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["RECONCILE_INTERVAL"] = "300"
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	var ids []string
	for range 4 {
		a := second.Call(http.MethodPost, "/sessions", w.AdminToken(), `{"profile":"slow"}`)
		if a.Status != http.StatusCreated {
			t.Fatalf("create: %s", a)
		}
		ids = append(ids, a.Field("session_id"))
	}
	for _, id := range ids {
		go func() {
			_, _ = second.Try(t.Context(), http.MethodPost, "/sessions/"+id+"/restart", w.AdminToken(), "")
		}()
	}
	harness.Eventually(t, 10*time.Second, "the operation has started", func() error {
		all, err := w.Sessions(t.Context())
		for _, s := range all {
			if s.Operation == nil {
				err = fmt.Errorf("%+v", s)
			}
		}
		return err
	})
	second.Serve.Signal(syscall.SIGKILL)
	begun := time.Now()
	harness.Eventually(t, 30*time.Second, "the other instance has finished it", func() error {
		all, err := w.Sessions(t.Context())
		for _, s := range all {
			if s.Operation != nil || s.Status != "running" {
				err = fmt.Errorf("%+v", s)
			}
		}
		return err
	})
	t.Logf("finished %s after the kill", time.Since(begun).Round(100*time.Millisecond))
	w.isConsistent(t, w.Env)
}
