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

// touches is a store of which only the writing of activity is looked at.
type touches struct {
	session.Store
	calls, sessions atomic.Int64
}

func (*touches) List(context.Context, session.Query) (session.Page, error) {
	return session.Page{}, nil
}

func (s *touches) Touch(_ context.Context, at map[session.ID]time.Time) error {
	s.calls.Add(1)
	s.sessions.Add(int64(len(at)))
	return nil
}

// noContainers is an engine on which nothing runs.
type noContainers struct{ session.Runtime }

func (noContainers) List(context.Context) ([]session.Container, error) { return nil, nil }

// However many requests come, activity is written once a second.
func TestActivityIsFlushedOncePerSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &touches{}
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
			t.Errorf("%d times of activity were written, want each session's each second", n)
		}
	})
}

// plainProfile is one that may be used.
func plainProfile() session.Profile {
	return session.Profile{
		Image: "opencode", Port: 4096, UID: 1000, GID: 1000, Username: "opencode", PasswordEnv: "PASSWORD", Ready: session.Probe{Path: "/"},
		Volumes: []session.Volume{{Name: session.WorkspaceVolume, Path: "/workspace"}},
	}
}
