package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// probeCounter counts probes by the second in which they begin, and the most concurrent ones.
type probeCounter struct {
	mu            sync.Mutex
	begun         time.Time
	bySecond      map[int]int
	bySession     map[string]int
	current, most int
}

func (l *probeCounter) Probe(_ context.Context, t session.Target) error {
	l.mu.Lock()
	l.bySecond[int(time.Since(l.begun)/time.Second)]++
	l.bySession[t.Address]++
	l.current++
	l.most = max(l.most, l.current)
	l.mu.Unlock()
	<-time.After(20 * time.Millisecond)
	l.mu.Lock()
	l.current--
	l.mu.Unlock()
	return nil
}

func (*probeCounter) Busy(context.Context, session.Target) (bool, error) { return false, nil }

func newProbeCounter() *probeCounter {
	return &probeCounter{begun: time.Now(), bySecond: map[int]int{}, bySession: map[string]int{}}
}

// mustBeSpread checks that about the same number of probes begin in each second.
func (l *probeCounter) mustBeSpread(t *testing.T, sessions int, interval time.Duration) {
	t.Helper()
	even := sessions / int(interval/time.Second)
	for second, n := range l.bySecond {
		if n > 2*even {
			t.Errorf("%d probes in second %d, want about %d", n, second, even)
		}
	}
}

// alongside runs work while f runs.
func alongside(t *testing.T, work func(context.Context), f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { work(ctx); close(over) }()
	f()
	cancel()
	<-over
}

// quietEngine sends no events.
type quietEngine struct{ session.Runtime }

func (quietEngine) Watch(ctx context.Context, ready func(), _ func(session.RuntimeEvent)) error {
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// The checks of five thousand sessions that were started at once are spread evenly, one for each session and interval.
func TestHealthChecksAreSpreadOverInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const sessions, interval, rounds = 5000, 30 * time.Second, 4
		probes := newProbeCounter()
		m := monitorOf(t, probes, quietEngine{}, interval, nil)
		trackMany(m, sessions)
		alongside(t, m.monitor.watchHealth, func() { <-time.After(rounds*interval + 2*time.Second) })
		probes.mustBeSpread(t, sessions, interval)
		for address, n := range probes.bySession {
			if n < rounds || n > rounds+1 {
				t.Errorf("%s was probed %d times in %d intervals", address, n, rounds)
			}
		}
		if len(probes.bySession) != sessions || probes.most > maxConcurrentChecks {
			t.Errorf("%d sessions were probed, %d at once; want %d, at most %d at once", len(probes.bySession), probes.most, sessions, maxConcurrentChecks)
		}
	})
}

// A clock that is set, forward or back, neither stops the checks nor makes all of them due at once.
func TestHealthChecksContinueWhenClockIsSet(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const sessions, interval = 5000, 30 * time.Second
				probes := newProbeCounter()
				var set atomic.Int64
				now := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
				m := monitorOf(t, probes, quietEngine{}, interval, now)
				trackMany(m, sessions)
				alongside(t, m.monitor.watchHealth, func() {
					<-time.After(interval / 2)
					set.Store(int64(jump))
					<-time.After(interval + 2*time.Second)
				})
				probes.mustBeSpread(t, sessions, interval)
				for address, n := range probes.bySession {
					if n > 3 {
						t.Errorf("%s was probed %d times in an interval and a half", address, n)
					}
				}
				if got := len(probes.bySession); got != sessions {
					t.Errorf("%d sessions were probed, want %d", got, sessions)
				}
			})
		})
	}
}

// trackMany adds running sessions to a monitor.
func trackMany(m *Manager, sessions int) {
	for i := range sessions {
		id := session.ID(fmt.Sprintf("ses-%d", i))
		m.health.track(session.Session{ID: id, Status: session.Running, ContainerName: string(id)}, session.Route{ID: id, Address: fmt.Sprintf("10.0.0.1:%d", i)})
	}
}

// monitorOf returns a manager of which only the monitor is used.
func monitorOf(t *testing.T, prober session.Prober, engine session.Runtime, interval time.Duration, now func() time.Time) *Manager {
	t.Helper()
	keys, err := access.NewKeys([]byte("a secret of some length"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewManager(&touchCounter{}, engine, prober, nil, keys, Options{
		Profiles: map[string]session.Profile{"opencode": plainProfile()}, Health: HealthOptions{CheckEvery: interval}, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// unreachableEngine is an engine whose event stream ends at once.
type unreachableEngine struct {
	session.Runtime
	mu     sync.Mutex
	dials  []time.Time
	answer map[int]bool // connection attempts that succeed before they end
}

func (e *unreachableEngine) Watch(_ context.Context, ready func(), _ func(session.RuntimeEvent)) error {
	e.mu.Lock()
	e.dials = append(e.dials, time.Now())
	answered := e.answer[len(e.dials)]
	e.mu.Unlock()
	if answered {
		ready()
	}
	return errors.New("the stream has ended")
}

func (*unreachableEngine) Ping(context.Context) error { return errors.New("connection refused") }

// recoveringEngine is an engine that is reachable from a given time.
type recoveringEngine struct {
	session.Runtime
	at        time.Time
	connected chan time.Time
}

func (e *recoveringEngine) Ping(context.Context) error {
	if time.Now().Before(e.at) {
		return session.Errorf(session.CodeEngineUnavailable, "connection refused")
	}
	return nil
}

func (e *recoveringEngine) Inspect(ctx context.Context, ref string) (session.Container, error) {
	return session.Container{ID: ref, State: session.StateRunning, Address: "10.0.0.1:0"}, e.Ping(ctx)
}

func (e *recoveringEngine) Watch(ctx context.Context, ready func(), _ func(session.RuntimeEvent)) error {
	if err := e.Ping(ctx); err != nil {
		return err
	}
	ready()
	e.connected <- time.Now()
	<-ctx.Done()
	return ctx.Err()
}

// failingProber is a prober of which every probe fails.
type failingProber struct{ session.Prober }

func (failingProber) Probe(context.Context, session.Target) error {
	return errors.New("it does not answer")
}

// A restart that is decided without the engine's events does not count. The stream is therefore reconnected at the first health check
// that the engine answers, and not after a back-off that has grown with the outage.
func TestEventStreamReconnectsWhenEngineAnswersHealthCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := &recoveringEngine{at: time.Now().Add(17 * time.Second), connected: make(chan time.Time, 1)}
		m := monitorOf(t, failingProber{}, engine, time.Second, nil)
		m.monitor.opts.Health.Threshold = 1000
		trackMany(m, 1)
		alongside(t, m.monitor.watchHealth, func() { <-time.After(30 * time.Second) })
		if late := (<-engine.connected).Sub(engine.at); late > 1500*time.Millisecond {
			t.Errorf("the events were received %s after the engine's recovery, want that within a check interval", late)
		}
	})
}

// The delay between connection attempts doubles up to five seconds, and is reset by a success.
func TestEventStreamReconnectsWithCappedBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := &unreachableEngine{answer: map[int]bool{10: true}}
		m := monitorOf(t, newProbeCounter(), engine, time.Hour, nil)
		alongside(t, m.monitor.watchEngine, func() { <-time.After(time.Minute) })
		var got []time.Duration
		for i := 1; i < len(engine.dials); i++ {
			got = append(got, engine.dials[i].Sub(engine.dials[i-1]))
		}
		const ms = time.Millisecond
		want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms, 100 * ms, 200 * ms, 400 * ms}
		for i, w := range want {
			if i >= len(got) || got[i] != w {
				t.Fatalf("the delays are %v, want %v first", got, want)
			}
		}
	})
}
