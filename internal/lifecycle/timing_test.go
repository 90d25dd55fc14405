package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

// scriptedProber is a prober with scripted results, for tests in a bubble.
type scriptedProber struct {
	mu     sync.Mutex
	probes map[string]int      // by address
	fails  func(look int) bool // whether the n-th probe of a server fails, from 1
	busy   func() bool         // whether servers are busy
	takes  time.Duration       // for each probe
}

var errUnhealthy = errors.New("it does not answer")

func (p *scriptedProber) Probe(_ context.Context, t session.Target) error {
	if p.takes > 0 {
		<-time.After(p.takes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probes == nil {
		p.probes = map[string]int{}
	}
	p.probes[t.Address]++
	if p.fails != nil && p.fails(p.probes[t.Address]) {
		return errUnhealthy
	}
	return nil
}

func (p *scriptedProber) Busy(context.Context, session.Target) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy != nil && p.busy(), nil
}

// resultRecorder records notices and results with their times.
type resultRecorder struct {
	mu      sync.Mutex
	notices []dated[lifecycle.Notice]
	done    []dated[lifecycle.OperationResult]
}

type dated[T any] struct {
	at time.Time
	is T
}

func (d *resultRecorder) into(o *lifecycle.Options) {
	o.Sink = lifecycle.SinkFunc(func(_ context.Context, r lifecycle.Report) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r.Notice != nil {
			d.notices = append(d.notices, dated[lifecycle.Notice]{time.Now(), *r.Notice})
		}
		if r.Operation != nil {
			d.done = append(d.done, dated[lifecycle.OperationResult]{time.Now(), *r.Operation})
		}
	})
}

// inBubble runs a test in a bubble, with a fixture whose manager is running.
func inBubble(t *testing.T, p *scriptedProber, change func(*lifecycle.Options), test func(t *testing.T, h *sessiontest.Fixture, d *resultRecorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &resultRecorder{}
		h := sessiontest.NewTimed(t, p, func(o *lifecycle.Options) {
			o.Health = lifecycle.HealthOptions{CheckEvery: 30 * time.Second, MaxRestarts: 3}
			o.TokenLife = 0
			d.into(o)
			change(o)
		})
		test(t, h, d)
	})
}

// runInBubble runs a manager until the returned function is called.
func runInBubble(t *testing.T, m *lifecycle.Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx, nil) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// A server that fails again after each restart is restarted after 5, 10 and 20 s, each with up to a fifth of jitter, and then its
// session fails.
func TestRestartDelayDoublesWithJitter(t *testing.T) {
	t.Parallel()
	p := &scriptedProber{fails: func(probe int) bool { return probe > 1 }} // the first probe is that of the start
	inBubble(t, p, func(*lifecycle.Options) {}, func(t *testing.T, h *sessiontest.Fixture, d *resultRecorder) {
		defer runInBubble(t, h.Manager)()
		const sessions = 4 // as many as are restarted at once, so that none waits for a slot
		for range sessions {
			h.Make(lifecycle.Request{})
		}
		<-time.After(30 * time.Minute)
		synctest.Wait()
		begun := map[session.ID][]time.Time{}
		given := map[session.ID]bool{}
		for _, n := range d.notices {
			if n.is.Type == session.EventUnhealthy {
				begun[n.is.Session] = append(begun[n.is.Session], n.at)
			}
			given[n.is.Session] = given[n.is.Session] || n.is.Type == session.EventFailed
		}
		first := map[time.Duration]bool{}
		restarts := map[session.ID]int{}
		for _, done := range d.done {
			if done.is.Operation != "restart" {
				continue
			}
			id := done.is.Session
			n := restarts[id]
			restarts[id]++
			if n >= len(begun[id]) {
				t.Fatalf("session %s was restarted %d times and was unhealthy %d times", id, n+1, len(begun[id]))
			}
			delay := done.at.Add(-done.is.Duration).Sub(begun[id][n])
			if low := 5 * time.Second << n; delay < low || delay > low+low/5+time.Millisecond {
				t.Errorf("restart %d came %v after the failure, want %v and up to a fifth more", n+1, delay, low)
			}
			if n == 0 {
				first[delay] = true
			}
		}
		for id, n := range restarts {
			if n != 3 || !given[id] {
				t.Errorf("session %s was restarted %d times, given up: %v; want 3 and given up", id, n, given[id])
			}
		}
		if len(restarts) != sessions || len(first) != sessions {
			t.Errorf("%d sessions were restarted after %d different delays, want %d of each", len(restarts), len(first), sessions)
		}
	})
}

// slowEngine takes a second for each start, and records the most concurrent ones.
type slowEngine struct {
	session.Runtime
	inside, most atomic.Int64
}

func (e *slowEngine) Start(ctx context.Context, ref string) error {
	now := e.inside.Add(1)
	defer e.inside.Add(-1)
	for {
		most := e.most.Load()
		if now <= most || e.most.CompareAndSwap(most, now) {
			break
		}
	}
	<-time.After(time.Second)
	return e.Runtime.Start(ctx, ref)
}

// After a restart of the engine all containers are down at once. All of them are started again, four at a time.
func TestConcurrentRestartsAreLimited(t *testing.T) {
	t.Parallel()
	inBubble(t, &scriptedProber{}, func(*lifecycle.Options) {}, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		const sessions = 60
		made := make([]session.Session, sessions)
		for i := range made {
			made[i], _ = h.Make(lifecycle.Request{})
		}
		engine := &slowEngine{Runtime: h.Engine}
		for _, s := range made {
			h.Engine.Crash(s.ContainerName, 137, false)
		}
		m := h.ProcessOn(engine) // the process that detects that
		stop := runInBubble(t, m)
		<-time.After(5 * time.Minute)
		synctest.Wait()
		page, err := h.Store.List(t.Context(), session.Query{Statuses: []session.Status{session.Running}})
		if err != nil || len(page.Sessions) != sessions {
			t.Errorf("after five minutes %d sessions run, %v; want all %d", len(page.Sessions), err, sessions)
		}
		if most := engine.most.Load(); most != 4 {
			t.Errorf("%d were started at once, want 4", most)
		}
		stop()
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestTenHealthyMinutesRefillRestartBudget(t *testing.T) {
	t.Parallel()
	fails := false
	p := &scriptedProber{fails: func(int) bool { return fails }}
	inBubble(t, p, func(*lifecycle.Options) {}, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		defer runInBubble(t, h.Manager)()
		s, _ := h.Make(lifecycle.Request{})
		restarts := func() int {
			t.Helper()
			now, err := h.Store.Get(t.Context(), s.ID)
			if err != nil {
				t.Fatal(err)
			}
			return now.RestartCount
		}
		h.Engine.Crash(s.ContainerName, 1, false)
		<-time.After(time.Minute)
		if got := restarts(); got != 1 {
			t.Fatalf("got %d restarts, want one", got)
		}
		<-time.After(9 * time.Minute)
		if got := restarts(); got != 1 {
			t.Errorf("before ten minutes: got %d restarts, want one", got)
		}
		<-time.After(2 * time.Minute)
		if got := restarts(); got != 0 {
			t.Errorf("after ten minutes: got %d restarts, want none", got)
		}
	})
}

// Out-of-memory events arrive before a server that was killed has exited, and several times. They do not count as failed checks, and
// are the cause of the failure that follows.
func TestOOMEventIsEvidenceNotFailure(t *testing.T) {
	t.Parallel()
	var fails atomic.Bool
	p := &scriptedProber{fails: func(int) bool { return fails.Load() }}
	inBubble(t, p, func(*lifecycle.Options) {}, func(t *testing.T, h *sessiontest.Fixture, d *resultRecorder) {
		defer runInBubble(t, h.Manager)()
		exits, _ := h.Make(lifecycle.Request{Owner: "exits"})
		survives, _ := h.Make(lifecycle.Request{Owner: "survives"})
		synctest.Wait() // until the engine's events are received
		fails.Store(true)
		for range 10 {
			h.Engine.EmitOutOfMemory(exits.ContainerName)
			h.Engine.EmitOutOfMemory(survives.ContainerName)
		}
		synctest.Wait()
		for _, s := range []session.Session{exits, survives} {
			if v, _ := h.Health(s.ID); v.Failures != 0 || v.State == lifecycle.Restarting {
				t.Errorf("after the event alone: %d failures, %s; want none", v.Failures, v.State)
			}
		}
		h.Engine.Crash(exits.ContainerName, 137, false) // without a cause from the engine
		<-time.After(3 * time.Minute)
		fails.Store(false)
		d.mu.Lock()
		defer d.mu.Unlock()
		got := map[session.ID][]session.EventType{}
		for _, n := range d.notices {
			if n.is.Cause == lifecycle.CauseMemory {
				got[n.is.Session] = append(got[n.is.Session], n.is.Type)
			}
		}
		want := map[session.ID][]session.EventType{
			exits.ID:    {session.EventOutOfMemory, session.EventUnhealthy},
			survives.ID: {session.EventUnhealthy}, // its container ran, but it did not answer
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("notices about memory (-want +got):\n%s", diff)
		}
	})
}

// stoppedAt returns how long after its last use a session was stopped.
func stoppedAt(t *testing.T, d *resultRecorder, s session.Session) time.Duration {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.done, func(e dated[lifecycle.OperationResult]) bool { return e.is.Operation == "stop" && e.is.Session == s.ID })
	if i < 0 {
		return 0
	}
	return d.done[i].at.Sub(s.LastAccessed)
}

func TestSessionStopTimes(t *testing.T) {
	t.Parallel()
	const tick = 30 * time.Second // interval of the reconciliation, which detects idle sessions
	for name, row := range map[string]struct {
		change func(*lifecycle.Options)
		busy   func() bool
		want   time.Duration // 0: never
	}{
		"never":  {func(*lifecycle.Options) {}, nil, 0},
		"unused": {func(o *lifecycle.Options) { o.IdleTimeout = 10 * time.Minute }, nil, 10 * time.Minute},
		"busy without an end": {func(o *lifecycle.Options) {
			o.IdleTimeout, o.MaxBusy = 10*time.Minute, time.Hour
			profile := sessiontest.Profile()
			profile.Busy = []session.BusyProbe{{Path: "/status", Member: "type", Values: []string{"busy"}}}
			o.Profiles = map[string]session.Profile{"opencode": profile}
		}, func() bool { return true }, time.Hour + 10*time.Minute},
		"at the end of its lifetime": {func(o *lifecycle.Options) { o.MaxLifetime = 2 * time.Hour }, nil, 2 * time.Hour},
		"the earlier of both":        {func(o *lifecycle.Options) { o.IdleTimeout, o.MaxLifetime = 3*time.Hour, 2*time.Hour }, nil, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, &scriptedProber{busy: row.busy}, row.change, func(t *testing.T, h *sessiontest.Fixture, d *resultRecorder) {
				defer runInBubble(t, h.Manager)()
				s, _ := h.Make(lifecycle.Request{})
				<-time.After(4 * time.Hour)
				synctest.Wait()
				if got := stoppedAt(t, d, s); row.want == 0 && got != 0 || got < row.want || got > row.want+2*tick {
					t.Errorf("stopped %v after its last use, want %v and up to %v more", got, row.want, 2*tick)
				}
			})
		})
	}
}

// Use moves the idle deadline, with an accuracy of a second.
func TestUseExtendsIdleDeadline(t *testing.T) {
	t.Parallel()
	inBubble(t, &scriptedProber{}, func(o *lifecycle.Options) { o.IdleTimeout = 10 * time.Minute }, func(t *testing.T, h *sessiontest.Fixture, d *resultRecorder) {
		defer runInBubble(t, h.Manager)()
		s, _ := h.Make(lifecycle.Request{})
		for range 10 {
			<-time.After(9 * time.Minute)
			h.Touch(s.ID)
		}
		last := time.Now()
		<-time.After(20 * time.Minute)
		synctest.Wait()
		s.LastAccessed = last
		if got := stoppedAt(t, d, s); got < 10*time.Minute || got > 11*time.Minute {
			t.Errorf("stopped %v after its last use, want ten minutes", got)
		}
	})
}

func TestWakeWaitEndsWithContext(t *testing.T) {
	t.Parallel()
	failing := false
	p := &scriptedProber{fails: func(int) bool { return failing }}
	inBubble(t, p, func(o *lifecycle.Options) { o.IdleTimeout = 10 * time.Minute }, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		defer runInBubble(t, h.Manager)()
		s, _ := h.Make(lifecycle.Request{})
		<-time.After(12 * time.Minute)
		synctest.Wait()
		p.mu.Lock()
		failing = true // not ready from now on
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		begun := time.Now()
		err := h.Wake(ctx, s.ID)
		if took := time.Since(begun); took != 7*time.Second || session.CodeOf(err) != session.CodeCanceled {
			t.Errorf("got %v after %v, want the wait ended after 7 s", err, took)
		}
	})
}
