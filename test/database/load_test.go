package database_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/test/harness"
)

// load simulates users and an operator, and records the acknowledged changes.
type load struct {
	t    *testing.T
	stop context.CancelFunc
	ctx  context.Context // of the load; requests outlive it, because one whose response is not read may have been carried out
	wg   sync.WaitGroup

	mu      sync.Mutex
	made    map[string]string // sessions that were acknowledged, with the newest token that was
	deleted map[string]bool   // sessions whose deletion was asked for
	refused []string          // requests of users that were not answered as they must be

	proxied, changed atomic.Int64
}

func startLoad(t *testing.T) *load {
	t.Helper()
	l := &load{t: t, made: map[string]string{}, deleted: map[string]bool{}}
	l.ctx, l.stop = context.WithCancel(t.Context())
	t.Cleanup(func() { l.stop(); l.wg.Wait() })
	return l
}

// users keeps asking a session's server through an instance, which must answer every time.
func (l *load) users(on *harness.Env, id, token string) {
	l.wg.Go(func() {
		for l.ctx.Err() == nil {
			a, err := on.Try(l.t.Context(), http.MethodGet, "/s/"+id+"/global/health", token, "")
			if err != nil || a.Status != http.StatusOK {
				l.mu.Lock()
				l.refused = append(l.refused, fmt.Sprintf("%s: %s %v", time.Now().Format(time.TimeOnly), a, err))
				l.mu.Unlock()
			} else {
				l.proxied.Add(1)
			}
			pause(l.ctx, 10*time.Millisecond)
		}
	})
}

// operator creates, exchanges tokens, stops, starts and deletes on an instance for as long as the load lasts. Requests
// may fail: what is acknowledged must be true.
func (l *load) operator(on *harness.Env, most int) {
	l.wg.Go(func() {
		var own []string
		for step := 0; l.ctx.Err() == nil; step++ {
			switch {
			case len(own) < most:
				if id := l.create(on); id != "" {
					own = append(own, id)
				}
			case step%7 == 6:
				l.delete(on, own[0])
				own = own[1:]
			case step%7 == 3:
				l.post(on, own[0], "/stop")
				l.post(on, own[0], "/start")
			default:
				l.rotate(on, own[step%len(own)])
			}
			pause(l.ctx, 20*time.Millisecond)
		}
	})
}

func (l *load) create(on *harness.Env) string {
	a, err := on.Try(l.t.Context(), http.MethodPost, "/sessions", on.AdminToken(), `{"owner":"load"}`)
	if err != nil || a.Status != http.StatusCreated {
		pause(l.ctx, 100*time.Millisecond)
		return ""
	}
	id := a.Field("session_id")
	l.note(id, a.Field("token"))
	return id
}

func (l *load) rotate(on *harness.Env, id string) {
	if a, err := on.Try(l.t.Context(), http.MethodPost, "/sessions/"+id+"/auth/rotate", on.AdminToken(), ""); err == nil && a.Status == http.StatusOK {
		l.note(id, a.Field("token"))
	}
}

func (l *load) note(id, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made[id] = token
	l.changed.Add(1)
}

func (l *load) post(on *harness.Env, id, action string) {
	if a, err := on.Try(l.t.Context(), http.MethodPost, "/sessions/"+id+action, on.AdminToken(), ""); err == nil && a.Status == http.StatusOK {
		l.changed.Add(1)
	}
}

func (l *load) delete(on *harness.Env, id string) {
	l.mu.Lock()
	l.deleted[id] = true
	l.mu.Unlock()
	if a, err := on.Try(l.t.Context(), http.MethodDelete, "/sessions/"+id, on.AdminToken(), ""); err == nil && a.Status == http.StatusNoContent {
		l.changed.Add(1)
	}
}

// end stops the load and waits for it.
func (l *load) end() {
	l.stop()
	l.wg.Wait()
	l.t.Logf("%d requests of users answered, %d changes acknowledged, %d sessions made", l.proxied.Load(), l.changed.Load(), len(l.made))
	if l.proxied.Load() == 0 || l.changed.Load() == 0 {
		l.t.Error("there was no load")
	}
	for _, r := range l.refused[:min(len(l.refused), 10)] {
		l.t.Errorf("a user's request was not answered: %s", r)
	}
	if len(l.refused) > 0 {
		l.t.Errorf("%d requests of users were not answered, want 0", len(l.refused))
	}
}

// kept checks that acknowledged sessions exist, unless their deletion was requested.
func (l *load) kept(all map[string]harness.Session) {
	l.t.Helper()
	for id := range l.made {
		if _, there := all[id]; !there && !l.deleted[id] {
			l.t.Errorf("session %s was acknowledged and is lost", id)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
