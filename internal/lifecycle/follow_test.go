package lifecycle_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
	"berth/internal/storage/jsonfile"
	"berth/internal/waittest"
)

func (p *peers) Unreachable(time.Time) bool { p.mu.Lock(); defer p.mu.Unlock(); return p.unreachable }

func (p *peers) change(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

// twoProcesses is a fixture with two processes on one store.
type twoProcesses struct {
	*fixture
	peers            *peers
	first, second    *lifecycle.Manager
	routes1, routes2 *sessiontest.Routes
}

func newTwo(t *testing.T) *twoProcesses {
	t.Helper()
	w := &twoProcesses{fixture: newFixture(t), peers: &peers{living: map[string]bool{"first": true, "second": true}, foreign: map[session.ID]bool{}}}
	join := func(name string) (*lifecycle.Manager, *sessiontest.Routes) {
		return w.OtherProcess(func(o *lifecycle.Options) {
			o.Process, o.Peers, o.Handover, o.ReconcileEvery = name, w.peers, 20*time.Millisecond, time.Hour
		})
	}
	w.first, w.routes1 = join("first")
	w.second, w.routes2 = join("second")
	return w
}

// create creates a session on the first process.
func (w *twoProcesses) create() (session.Session, session.Secret) {
	w.t.Helper()
	issued, err := w.CreateOn(w.t.Context(), w.first, lifecycle.Request{})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := issued.Wait(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s, issued.Token
}

func (w *twoProcesses) eventually(what string, try func() error) {
	w.t.Helper()
	waittest.Until(w.t, what, try)
}

func routed(routes *sessiontest.Routes, id session.ID, want func(session.Route, bool) bool) func() error {
	return func() error {
		if route, ok := routes.Get(id); !want(route, ok) {
			return fmt.Errorf("the route is %+v, there is one: %v", route, ok)
		}
		return nil
	}
}

// A change that cannot be read because the store fails is retried soon, not with the next reconciliation.
func TestFollowerRetriesAfterStoreFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		sentinel, _ := w.create()
		failed := make(chan struct{}, 100)
		_, routes := w.OtherProcess(func(o *lifecycle.Options) {
			o.Process, o.Peers, o.ReconcileEvery = "third", w.peers, time.Hour
			o.Logger = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) {
				if bytes.Contains(line, []byte("was not applied")) && bytes.Contains(line, []byte(sentinel.ID)) {
					failed <- struct{}{}
				}
			}), nil))
		})
		s, token := w.create()
		w.eventually("the other process has the token", routed(routes, s.ID, func(r session.Route, _ bool) bool {
			return w.Keys.Matches(token, r.Token.Digest)
		}))
		s, sentinel = w.stored(s.ID), w.stored(sentinel.ID)
		unavailable := session.Errorf(session.CodeStoreUnavailable, "the database does not answer in time")
		w.Store.Fail("Get", unavailable)
		w.Store.Fail("List", unavailable)
		fresh := access.NewToken(32)
		s.Token.Digest = w.Keys.Digest(fresh)
		for _, changed := range []session.Session{s, sentinel} { // changes are followed in order
			if _, err := w.Store.Update(t.Context(), changed, session.Unlimited); err != nil {
				t.Fatal(err)
			}
		}
		<-failed
		w.Store.Fail("Get", nil)
		w.Store.Fail("List", nil)
		w.eventually("the other process rejects the replaced token", routed(routes, s.ID, func(r session.Route, _ bool) bool {
			return w.Keys.Matches(fresh, r.Token.Digest)
		}))
	})
}

type writerFunc func([]byte)

func (f writerFunc) Write(line []byte) (int, error) { f(line); return len(line), nil }

func TestEveryProcessServesEverySession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		s, token := w.create()
		here, _ := w.routes1.Get(s.ID)
		w.eventually("the other process has the session's address and token", routed(w.routes2, s.ID, func(r session.Route, _ bool) bool {
			return r.Running && r.Address == here.Address && w.Keys.Matches(token, r.Token.Digest)
		}))

		_, fresh, err := w.RotateOn(t.Context(), w.second, s.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.eventually("the first process rejects the token that the other one has replaced", routed(w.routes1, s.ID, func(r session.Route, _ bool) bool {
			return r.Running && w.Keys.Matches(fresh, r.Token.Digest)
		}))

		if _, err := w.do(w.second.Restart, s.ID); err != nil {
			t.Fatal(err)
		}
		there, _ := w.routes2.Get(s.ID)
		w.eventually("the first process follows the server to its new address", routed(w.routes1, s.ID, func(r session.Route, _ bool) bool {
			return r.Running && r.Address == there.Address
		}))

		if _, err := w.do(w.first.Stop, s.ID); err != nil {
			t.Fatal(err)
		}
		w.eventually("the other process is notified of the stop", routed(w.routes2, s.ID, func(r session.Route, ok bool) bool { return ok && !r.Running }))

		if _, err := w.do(w.second.Delete, s.ID); err != nil {
			t.Fatal(err)
		}
		w.eventually("the first process removes the route", routed(w.routes1, s.ID, func(_ session.Route, ok bool) bool { return !ok }))
	})
}

// A repeated idempotent create uses the same ID again, and its revisions start at 1.
func TestRecreatedSessionIsServedByEveryProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		produce := func() sessiontest.Issued {
			issued, err := w.CreateOn(t.Context(), w.first, lifecycle.Request{IdempotencyKey: "key"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := issued.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			return issued
		}
		id := produce().Session().ID
		for range 3 { // so that the next session's revision is lower
			if _, _, err := w.RotateOn(t.Context(), w.first, id, 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.do(w.first.Delete, id); err != nil {
			t.Fatal(err)
		}
		again := produce()
		w.eventually("the other process has the new session", routed(w.routes2, id, func(r session.Route, _ bool) bool {
			return r.Running && w.Keys.Matches(again.Token, r.Token.Digest)
		}))
	})
}

func TestStopAndDeletePreemptOtherProcess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begin func(*lifecycle.Manager, context.Context, session.ID) (*lifecycle.Work, error)
		want  session.Status
	}{
		"stop":   {(*lifecycle.Manager).Stop, session.Stopped},
		"delete": {(*lifecycle.Manager).Delete, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newTwo(t)
				w.Engine.Behave("", runtimetest.Behaviour{Mute: true})
				issued, err := w.CreateOn(t.Context(), w.first, lifecycle.Request{})
				if err != nil {
					t.Fatal(err)
				}
				id := issued.Session().ID
				w.reached(runtimetest.OpStart)
				if _, err := w.second.Restart(t.Context(), id); session.CodeOf(err) != session.CodeInProgress {
					t.Errorf("restart meanwhile: got %v, want %s", err, session.CodeInProgress)
				}
				later, err := c.begin(w.second, t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := issued.Wait(t.Context()); session.CodeOf(err) != session.CodeCanceled {
					t.Errorf("the create: got %v, want %s", err, session.CodeCanceled)
				}
				if _, err := later.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if s := w.settled(id); s.Status != c.want || s.LastError != "" {
					t.Errorf("got %q (%s), want %q", s.Status, s.LastError, c.want)
				}
				running, err := w.Engine.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, container := range running {
					if container.State == session.StateRunning {
						t.Errorf("container %s runs", container.Name)
					}
				}
			})
		})
	}
}

func TestTakenOverOperationIsNotConcludedByFirstOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		s, _ := w.create()
		release := make(chan struct{})
		w.Engine.Script(runtimetest.OpStop, runtimetest.Step{Until: release})
		first, err := w.first.Stop(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.reached(runtimetest.OpStop)
		w.peers.change(func() { w.peers.living["first"] = false }) // it is unreachable, and continues
		if err := w.second.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = first.Wait(t.Context())
		if session.CodeOf(err) != session.CodeCanceled {
			t.Errorf("the first owner's stop: got %v, want %s", err, session.CodeCanceled)
		}
		close(release)
		if got := w.settled(s.ID); got.Status != session.Stopped {
			t.Errorf("got %s, want it stopped by the second owner", got.Status)
		}
	})
}

func TestSessionsOfLivePeersAreNotReconciled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		s, _ := w.create()
		w.peers.change(func() { w.peers.foreign[s.ID] = true })
		w.Engine.Crash(s.ContainerName, 1, false)
		if err := w.second.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.stored(s.ID); got.Status != session.Running {
			t.Errorf("a session of another process is %s, want it unchanged", got.Status)
		}
		w.peers.change(func() { w.peers.foreign[s.ID] = false })
		if err := w.second.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.stored(s.ID); got.Status != session.Error {
			t.Errorf("a session that is now this process's is %s, want the missing container detected", got.Status)
		}
	})
}

func TestOrphanOfUnreachablePeerIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		w.create() // with an empty store nothing is removed
		s, _ := w.create()
		if err := w.Store.Delete(t.Context(), s.ID, w.stored(s.ID).Revision); err != nil {
			t.Fatal(err)
		}
		if err := w.second.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Clock.Advance(time.Hour)
		count := func() int {
			t.Helper()
			if err := w.second.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			all, err := w.Engine.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}
		w.peers.change(func() { w.peers.missing = s.CreatedAt.Add(-time.Second) })
		if got := count(); got != 2 {
			t.Errorf("created while a process is unreachable: got %d containers, want both kept", got)
		}
		w.peers.change(func() { w.peers.missing = s.CreatedAt.Add(time.Hour) })
		if got := count(); got != 1 {
			t.Errorf("created before a process became unreachable: got %d containers, want one removed", got)
		}
	})
}

// On the sessions' network every server has the same port, and its address changes with each start.
func TestServerIsFollowedToNewAddressWithSamePort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		w.Engine.SamePort(4096)
		w.Engine.Script(runtimetest.OpStart, runtimetest.Step{Times: -1, Delay: time.Millisecond}) // two starts are distinguished by their times
		s, _ := w.create()
		before, _ := w.routes1.Get(s.ID)
		w.peers.change(func() { w.peers.foreign[s.ID] = true }) // no process reconciles it
		w.eventually("the other process has the address", routed(w.routes2, s.ID, func(r session.Route, _ bool) bool {
			return r.Running && r.Address == before.Address
		}))
		for range 3 {
			if _, err := w.do(w.second.Restart, s.ID); err != nil {
				t.Fatal(err)
			}
			there, _ := w.routes2.Get(s.ID)
			if there.Address == before.Address {
				t.Fatalf("the server is at %s again, want another address", there.Address)
			}
			w.eventually("the first process follows the server", routed(w.routes1, s.ID, func(r session.Route, _ bool) bool {
				return r.Running && r.Address == there.Address
			}))
			before = there
		}
	})
}

// A store that was rolled back assigns revisions again: its present records are published even if this process had a newer
// revision, and acknowledged changes take effect at once.
func TestRoutesFollowRolledBackStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		s, _ := w.create()
		before := w.stored(s.ID)
		var lost session.Secret
		for range 5 {
			var err error
			if _, lost, err = w.RotateOn(t.Context(), w.first, s.ID, 0); err != nil {
				t.Fatal(err)
			}
		}
		knows := func(routes *sessiontest.Routes, token session.Secret) func() error {
			return routed(routes, s.ID, func(r session.Route, _ bool) bool { return w.Keys.Matches(token, r.Token.Digest) })
		}
		w.eventually("the other process has the token", knows(w.routes2, lost))
		if err := w.Store.Store.(*jsonfile.Store).Replace(t.Context(), []session.Session{before}); err != nil {
			t.Fatal(err)
		}
		_, fresh, err := w.RotateOn(t.Context(), w.second, s.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := knows(w.routes2, fresh)(); err != nil {
			t.Errorf("after an acknowledged rotation the replaced token is accepted: %v", err)
		}
		w.eventually("the first process rejects the token that the store has lost", knows(w.routes1, fresh))
	})
}
