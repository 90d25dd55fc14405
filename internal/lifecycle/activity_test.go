package lifecycle

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// touchCounter is a store that counts calls of Touch.
type touchCounter struct {
	session.Store
	calls, sessions atomic.Int64
}

func (*touchCounter) List(context.Context, session.Query) (session.Page, error) {
	return session.Page{}, nil
}

func (s *touchCounter) Touch(_ context.Context, at map[session.ID]time.Time) error {
	s.calls.Add(1)
	s.sessions.Add(int64(len(at)))
	return nil
}

// noContainers is an engine without containers.
type noContainers struct{ session.Runtime }

func (noContainers) List(context.Context) ([]session.Container, error) { return nil, nil }

// Activity is written once a second for any number of requests.
func TestActivityIsFlushedOncePerSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &touchCounter{}
		keys, err := access.NewKeys([]byte("a secret of some length"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewManager(store, noContainers{}, nil, nil, keys, Options{Profiles: map[string]session.Profile{"opencode": plainProfile()}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx, nil) }()
		const seconds, sessions = 10, 50
		for range seconds * 100 {
			for i := range sessions {
				m.Touch(session.ID(rune('a' + i)))
			}
			<-time.After(10 * time.Millisecond)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := store.calls.Load(); n < seconds-1 || n > seconds+1 {
			t.Errorf("%d writes in %d s, want one a second", n, seconds)
		}
		if n := store.sessions.Load(); n < (seconds-1)*sessions {
			t.Errorf("%d updates of activity were written, want one for each session and second", n)
		}
	})
}

// plainProfile is a minimal valid profile.
func plainProfile() session.Profile {
	return session.Profile{
		Image: "opencode", Port: 4096, UID: 1000, GID: 1000, Username: "opencode", PasswordEnv: "PASSWORD", Ready: session.Probe{Path: "/"},
		Volumes: []session.Volume{{Name: session.WorkspaceVolume, Path: "/workspace"}},
	}
}
