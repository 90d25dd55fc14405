package config

import (
	"slices"
	"testing"

	"berth/internal/session"
)

func TestChangedListsDifferingSettings(t *testing.T) {
	t.Parallel()
	a, b := Default(), Default()
	if got := Changed(a, b); len(got) != 0 {
		t.Errorf("nothing differs: got %q", got)
	}
	b.Log.Level, b.Limits.MaxSessions, b.Token.Secret = LevelDebug, 7, "another-secret-of-this-test-and-more"
	p := b.Profiles["opencode"]
	p.Port++
	b.Profiles = map[string]session.Profile{"opencode": p}
	if got, want := Changed(a, b), []string{"MAX_CONCURRENT_SESSIONS", "SESSION_TOKEN_SECRET", "LOG_LEVEL", "profiles"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
