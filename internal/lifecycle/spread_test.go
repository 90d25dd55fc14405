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

// looker counts looks by the second that they began in, and how many there were at once.
type looker struct {
	mu           sync.Mutex
	begun        time.Time
	bySecond     map[int]int
	bySession    map[string]int
	inside, most int
}

func (l *looker) Probe(_ context.Context, t session.Target) error {
	l.mu.Lock()
	l.bySecond[int(time.Since(l.begun)/time.Second)]++
	l.bySession[t.Address]++
	l.inside++
	l.most = max(l.most, l.inside)
	l.mu.Unlock()
	<-time.After(20 * time.Millisecond)
	l.mu.Lock()
	l.inside--
	l.mu.Unlock()
	return nil
}

func (*looker) Busy(context.Context, session.Target) (bool, error) { return false, nil }

func newLooker() *looker {
	return &looker{begun: time.Now(), bySecond: map[int]int{}, bySession: map[string]int{}}
}

// mustBeSpread wants about as many looks in each second as in any other.
func (l *looker) mustBeSpread(t *testing.T, sessions int, interval time.Duration) {
	t.Helper()
	even := sessions / int(interval/time.Second)
	for second, n := range l.bySecond {
		if n > 2*even {
			t.Errorf("%d looks in second %d, want about %d", n, second, even)
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

// quietEngine has nothing to tell.
type quietEngine struct{ session.Runtime }

func (quietEngine) Watch(ctx context.Context, ready func(), _ func(session.RuntimeEvent)) error {
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// Five thousand sessions that were all started at once are looked at evenly, each once in an interval.
func TestHealthChecksAreSpreadOverInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const sessions, interval, rounds = 5000, 30 * time.Second, 4
		looks := newLooker()
		m := monitorOf(t, looks, quietEngine{}, interval, nil)
		trackMany(m, sessions)
		alongside(t, m.monitor.watchHealth, func() { <-time.After(rounds*interval + 2*time.Second) })
		looks.mustBeSpread(t, sessions, interval)
		for address, n := range looks.bySession {
			if n < rounds || n > rounds+1 {
				t.Errorf("%s was looked at %d times in %d intervals", address, n, rounds)
			}
		}
		if len(looks.bySession) != sessions || looks.most > maxConcurrentChecks {
			t.Errorf("%d sessions were looked at, %d at once; want %d, at most %d at once", len(looks.bySession), looks.most, sessions, maxConcurrentChecks)
		}
	})
}

// A clock that is set, forward or back, neither stops the looks nor brings them all at once.
func TestHealthChecksContinueWhenClockIsSet(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const sessions, interval = 5000, 30 * time.Second
				looks := newLooker()
				var set atomic.Int64
				now := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
				m := monitorOf(t, looks, quietEngine{}, interval, now)
				trackMany(m, sessions)
				alongside(t, m.monitor.watchHealth, func() {
					<-time.After(interval / 2)
					set.Store(int64(jump))
					<-time.After(interval + 2*time.Second)
				})
				looks.mustBeSpread(t, sessions, interval)
				for address, n := range looks.bySession {
					if n > 3 {
						t.Errorf("%s was looked at %d times in an interval and a half", address, n)
					}
				}
				if got := len(looks.bySession); got != sessions {
					t.Errorf("%d sessions were looked at, want %d", got, sessions)
				}
			})
		})
	}
}

// trackMany tells a monitor of so many sessions that run.
func trackMany(m *Manager, sessions int) {
	for i := range sessions {
		id := session.ID(fmt.Sprintf("ses-%d", i))
		m.health.track(session.Session{ID: id, Status: session.Running, ContainerName: string(id)}, session.Route{ID: id, Address: fmt.Sprintf("10.0.0.1:%d", i)})
	}
}

// monitorOf is a manager of which only the monitor works.
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

// remoteRuntimeView cannot be connected to, but for a moment.
type remoteRuntimeView struct {
	session.Runtime
	mu     sync.Mutex
	dials  []time.Time
	answer map[int]bool // dials that are answered, and end at once
}

func (e *remoteRuntimeView) Watch(_ context.Context, ready func(), _ func(session.RuntimeEvent)) error {
	e.mu.Lock()
	e.dials = append(e.dials, time.Now())
	answered := e.answer[len(e.dials)]
	e.mu.Unlock()
	if answered {
		ready()
	}
	return errors.New("the stream has ended")
}

func (*remoteRuntimeView) Ping(context.Context) error { return errors.New("nobody listens") }

// returningView is an engine that can be reached from a moment on.
type returningView struct {
	session.Runtime
	at        time.Time
	connected chan time.Time
}

func (e *returningView) Ping(context.Context) error {
	if time.Now().Before(e.at) {
		return session.Errorf(session.CodeEngineUnavailable, "nobody listens")
	}
	return nil
}

func (e *returningView) Inspect(ctx context.Context, ref string) (session.Container, error) {
	return session.Container{ID: ref, State: session.StateRunning, Address: "10.0.0.1:0"}, e.Ping(ctx)
}

func (e *returningView) Watch(ctx context.Context, ready func(), _ func(session.RuntimeEvent)) error {
	if err := e.Ping(ctx); err != nil {
		return err
	}
	ready()
	e.connected <- time.Now()
	<-ctx.Done()
	return ctx.Err()
}

// mutePlace is a prober to which no server answers.
type mutePlace struct{ session.Prober }

func (mutePlace) Probe(context.Context, session.Target) error {
	return errors.New("it does not answer")
}

// A restart that is decided without the engine's events does not count. So they are received again before a server that does
// not answer has been looked at often enough, and not after a wait that has grown with the outage.
func TestEventStreamReconnectsWhenEngineAnswersHealthCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := &returningView{at: time.Now().Add(17 * time.Second), connected: make(chan time.Time, 1)}
		m := monitorOf(t, mutePlace{}, engine, time.Second, nil)
		m.monitor.opts.Health.Threshold = 1000
		trackMany(m, 1)
		alongside(t, m.monitor.watchHealth, func() { <-time.After(30 * time.Second) })
		if late := (<-engine.connected).Sub(engine.at); late > 1500*time.Millisecond {
			t.Errorf("the events were received %s after the engine's return, want that within a look's interval", late)
		}
	})
}

// The stream of events is dialled again after a wait that doubles, up to five seconds, and begins anew after a success.
func TestEventStreamReconnectsWithCappedBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := &remoteRuntimeView{answer: map[int]bool{10: true}}
		m := monitorOf(t, newLooker(), engine, time.Hour, nil)
		alongside(t, m.monitor.watchEngine, func() { <-time.After(time.Minute) })
		var got []time.Duration
		for i := 1; i < len(engine.dials); i++ {
			got = append(got, engine.dials[i].Sub(engine.dials[i-1]))
		}
		const ms = time.Millisecond
		want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms, 100 * ms, 200 * ms, 400 * ms}
		for i, w := range want {
			if i >= len(got) || got[i] != w {
				t.Fatalf("waits are %v, want them to begin with %v", got, want)
			}
		}
	})
}
