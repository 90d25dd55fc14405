package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"berth/internal/session"
)

// prompt is the maximum duration of a cancelled call, with a margin for a machine under load.
const prompt = 5 * time.Second

func cancelled(t *testing.T, store session.Store) {
	s := create(t, store, idle("ses-a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	changed := s
	changed.Owner = "bob"
	for _, test := range []struct {
		name string
		call func() error
	}{
		{"create", func() error { _, err := store.Create(ctx, idle("ses-b"), session.Quota{}); return err }},
		{"create with a limit", func() error { _, err := store.Create(ctx, busy("ses-c"), session.Quota{Running: 5}); return err }},
		{"get", func() error { _, err := store.Get(ctx, "ses-a"); return err }},
		{"update", func() error { _, err := store.Update(ctx, changed, session.Unlimited); return err }},
		{"delete", func() error { return store.Delete(ctx, "ses-a", s.Revision) }},
		{"list", func() error { _, err := store.List(ctx, session.Query{}); return err }},
		{"touch", func() error { return store.Touch(ctx, map[session.ID]time.Time{"ses-a": at(500)}) }},
		{"ping", func() error { return store.Ping(ctx) }},
	} {
		answer := make(chan error, 1)
		go func() { answer <- test.call() }()
		select {
		case err := <-answer:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s with a cancelled context: got %v, want the context's error", test.name, err)
			}
		case <-time.After(prompt):
			t.Fatalf("%s with a cancelled context has not returned after %s", test.name, prompt)
		}
	}
	all := list(t, store, session.Query{}).Sessions
	if len(all) != 1 {
		t.Fatalf("cancelled calls created the sessions %v, want only ses-a", ids(all))
	}
	wantSame(t, all[0], s, "the session after calls of a caller who has left")
}
