package lifecycle_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

// After any sequence of requests, engine failures, container exits and process restarts: once the engine answers and a process has
// reconciled, records, containers, volumes and routes are consistent, and each session is in the state that the last accepted
// request asked for.
func TestModelAcknowledgedRequestsHold(t *testing.T) {
	t.Parallel()
	most := int64(1)
	if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
		most = 100_000
	}
	var steps atomic.Int64
	for steps.Load() < most && !t.Failed() {
		runModel(t, &steps)
	}
	t.Logf("%d steps", steps.Load())
}

func runModel(t *testing.T, steps *atomic.Int64) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		h := &fixture{t: t, Fixture: sessiontest.NewFast(t, func(o *lifecycle.Options) {
			o.StartTimeout, o.StopTimeout, o.ProbeInterval = 500*time.Millisecond, 50*time.Millisecond, time.Millisecond
			o.MaxSessions = 3
			o.Health = lifecycle.HealthOptions{CheckEvery: time.Minute, MaxRestarts: 2, RestartDelay: time.Millisecond}
			o.IdleTimeout = 30 * time.Minute
		})}
		defer h.Engine.Close()
		m := model{fixture: h, rt: rt, wanted: map[session.ID]session.Kind{}, containers: map[session.ID]string{}}
		rt.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { steps.Add(1) },
			"create":  func(*rapid.T) { m.create() },
			"start":   func(*rapid.T) { m.do(session.OpStart, (*lifecycle.Manager).Start) },
			"stop":    func(*rapid.T) { m.do(session.OpStop, (*lifecycle.Manager).Stop) },
			"restart": func(*rapid.T) { m.do(session.OpRestart, (*lifecycle.Manager).Restart) },
			"delete":  func(*rapid.T) { m.do(session.OpDelete, (*lifecycle.Manager).Delete) },
			"cancel":  func(*rapid.T) { m.do(session.OpStop, (*lifecycle.Manager).Cancel) },
			"force":   func(rt *rapid.T) { m.force(rt) },
			"wake":    func(*rapid.T) { m.wake() },
			"rotate":  func(*rapid.T) { _, _, _ = m.Rotate(t.Context(), m.pick()) },
			"grace":   func(*rapid.T) { _, _, _ = m.RotateWithGrace(t.Context(), m.pick(), time.Minute) },
			"sweep":   func(*rapid.T) { _, _ = m.SweepTokens(t.Context()) },
			"crash":   func(*rapid.T) { h.Engine.Crash(m.container(), 1, false) },
			"upgrade": func(rt *rapid.T) { m.upgrade(rt) },
			"external": func(rt *rapid.T) {
				h.Engine.StopExternally(m.container(), syscall.SIGTERM, 143, rapid.Bool().Draw(rt, "gone"))
			},
			"vanish":     func(*rapid.T) { h.Engine.RemoveExternally(m.container()) },
			"engine":     func(rt *rapid.T) { h.Engine.SetDown(rapid.Bool().Draw(rt, "down")) },
			"lost reply": func(rt *rapid.T) { m.loseReply(rt) },
			"reconcile":  func(*rapid.T) { _ = h.Reconcile(t.Context()) },
			"die":        func(*rapid.T) { m.restart() },
			"age": func(rt *rapid.T) {
				h.Clock.Advance(time.Duration(rapid.IntRange(1, 60).Draw(rt, "minutes")) * time.Minute)
			},
		})
		m.settle()
	})
}

type model struct {
	*fixture
	rt     *rapid.T
	ids    []session.ID
	wanted map[session.ID]session.Kind // the last accepted request; automatic operations do not count

	containers map[session.ID]string // names
}

func (m *model) create() {
	issued, err := m.Create(m.t.Context(), lifecycle.Request{})
	if err == nil {
		s := issued.Session()
		m.ids = append(m.ids, s.ID)
		m.wanted[s.ID], m.containers[s.ID] = session.OpCreate, s.ContainerName
		m.maybeWait(issued.Work)
	}
}

// do begins an operation, and sometimes waits for its end.
func (m *model) do(kind session.Kind, begin func(*lifecycle.Manager, context.Context, session.ID) (*lifecycle.Work, error)) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Second)
	defer cancel()
	id := m.pick()
	if w, err := begin(m.Manager, ctx, id); err == nil {
		if m.wanted[id] == session.OpDelete && kind != session.OpDelete {
			m.rt.Fatalf("%s of %s was accepted after its delete", kind, id)
		}
		if kind != session.OpUpgrade { // which keeps the status
			m.wanted[id] = kind
		}
		m.maybeWait(w)
	}
}

func (m *model) force(rt *rapid.T) {
	kind := rapid.SampledFrom([]session.Kind{session.OpStop, session.OpRestart, session.OpDelete}).Draw(rt, "kind")
	m.do(kind, func(manager *lifecycle.Manager, ctx context.Context, id session.ID) (*lifecycle.Work, error) {
		return manager.Force(ctx, id, kind)
	})
}

func (m *model) wake() {
	ctx, cancel := context.WithTimeout(m.t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = m.Wake(ctx, m.pick())
}

func (m *model) maybeWait(w *lifecycle.Work) {
	if rapid.Bool().Draw(m.rt, "wait") {
		_, _ = w.Wait(m.t.Context())
	}
}

func (m *model) pick() session.ID {
	if len(m.ids) == 0 {
		return "ses-missing"
	}
	return rapid.SampledFrom(m.ids).Draw(m.rt, "session")
}

func (m *model) container() string {
	s, err := m.store().Get(m.t.Context(), m.pick())
	if err != nil {
		return "berth-missing"
	}
	return s.ContainerName
}

// loseReply makes the next call of a kind return an error, sometimes after its effect.
func (m *model) loseReply(rt *rapid.T) {
	op := rapid.SampledFrom([]runtimetest.Op{
		runtimetest.OpCreate, runtimetest.OpStart, runtimetest.OpStop, runtimetest.OpRemove, runtimetest.OpRemoveVolumes, runtimetest.OpInspect,
	}).Draw(rt, "call")
	m.Engine.Script(op, runtimetest.Step{
		ActFirst: rapid.Bool().Draw(rt, "acted"), Err: session.Errorf(session.CodeEngineUnavailable, "connection lost"),
	})
}

// restart ends the process without waiting for its work, and starts another.
func (m *model) restart() {
	m.abandon(m.Manager)
	m.Routes.Clear()
	m.Manager = m.Process()
}

// settle lets all failures end and checks that the state is consistent.
func (m *model) settle() {
	m.Engine.SetDown(false)
	m.Engine.ClearScript()
	m.restart()
	m.Clock.Advance(24 * time.Hour)
	var fault error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := m.Reconcile(m.t.Context()); err != nil {
			m.rt.Fatalf("reconcile: %v", err)
		}
		if fault = cmp.Or(m.disagreement(), m.broken()); fault == nil {
			m.abandon(m.Manager)
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	m.rt.Fatalf("not consistent within 20 s: %v", fault)
}

func (m *model) disagreement() error {
	page, err := m.store().List(m.t.Context(), session.Query{})
	if err != nil {
		return err
	}
	containers, err := m.Engine.List(m.t.Context())
	if err != nil {
		return err
	}
	byName := map[string]session.Container{}
	for _, c := range containers {
		byName[c.Name] = c
	}
	volumes := m.Engine.Volumes()
	for _, s := range page.Sessions {
		c, exists := byName[s.ContainerName]
		delete(byName, s.ContainerName)
		route, routed := m.Routes.Get(s.ID)
		running := exists && c.State == session.StateRunning
		switch {
		case s.Operation != nil:
			return fmt.Errorf("%s has operation %s", s.ID, s.Operation.Kind)
		case s.Status == session.Creating:
			return fmt.Errorf("%s is creating without an operation", s.ID)
		case (s.Status == session.Running) != running:
			return fmt.Errorf("%s is %s and its container is %q", s.ID, s.Status, c.State)
		case !routed || route.Running != running || running && route.Address != c.Address:
			return fmt.Errorf("%s is %s at %q and its route is %v %q", s.ID, s.Status, c.Address, route.Running, route.Address)
		case route.Token != s.Token:
			return fmt.Errorf("%s has a route with another token", s.ID)
		case (s.Port == 0) == running:
			return fmt.Errorf("%s is %s with port %d", s.ID, s.Status, s.Port)
		case s.Status == session.Error && s.LastError == "":
			return fmt.Errorf("%s is in error without a reason", s.ID)
		case running && !slices.ContainsFunc(volumes, func(v string) bool { return strings.HasPrefix(v, s.ContainerName) }):
			return fmt.Errorf("%s runs and its workspace is missing from %v", s.ID, volumes)
		}
	}
	for name := range byName {
		return fmt.Errorf("container %s has no session", name)
	}
	return nil
}

// broken returns which session is not in the state that the last accepted request asked for.
func (m *model) broken() error {
	page, err := m.store().List(m.t.Context(), session.Query{})
	if err != nil {
		return err
	}
	there := map[session.ID]session.Session{}
	for _, s := range page.Sessions {
		there[s.ID] = s
	}
	volumes := m.Engine.Volumes()
	for id, kind := range m.wanted {
		s, exists := there[id]
		kept := slices.ContainsFunc(volumes, func(v string) bool { return strings.HasPrefix(v, m.containers[id]+"/") })
		served := slices.ContainsFunc(s.Timeline, func(e session.Event) bool { return e.Type == session.EventReady })
		switch {
		case kind == session.OpDelete && (exists || kept):
			return fmt.Errorf("%s was to be deleted: it exists %v, its volumes %v", id, exists, kept)
		case kind == session.OpDelete:
		case !exists:
			return fmt.Errorf("%s does not exist, although no delete was accepted", id)
		case served && !kept:
			return fmt.Errorf("%s has lost its workspace, although no delete was accepted", id)
		case kind == session.OpStop && s.Status != session.Stopped:
			return fmt.Errorf("%s was to be stopped and is %s: %s", id, s.Status, s.LastError)
		case kind == session.OpStop && s.StopReason != "":
			return fmt.Errorf("%s was to be stopped, and has the stop reason %s", id, s.StopReason)
		case kind != session.OpStop && s.Status == session.Stopped && s.StopReason == "":
			return fmt.Errorf("%s was to run, and is stopped without a reason", id)
		}
	}
	return nil
}

func (m *model) store() session.Store { return m.Store }
