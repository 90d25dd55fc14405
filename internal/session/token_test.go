package session_test

import (
	"testing"
	"time"

	"berth/internal/session"
)

func TestReplacedTokenIsValidDuringGrace(t *testing.T) {
	t.Parallel()
	now := time.Now()
	first := session.Token{}.Replaced("first", now, time.Hour, time.Minute)
	if want := (session.Token{Digest: "first", RotatedAt: now, ExpiresAt: now.Add(time.Hour)}); first != want {
		t.Errorf("the first token: got %+v, want %+v", first, want)
	}
	for name, c := range map[string]struct {
		after, grace time.Duration
		end          time.Duration // of the grace, from the beginning; 0: there is none
	}{
		"no grace":                    {time.Minute, 0, 0},
		"a grace":                     {time.Minute, time.Minute, 2 * time.Minute},
		"a grace beyond the expiry":   {59 * time.Minute, 2 * time.Minute, time.Hour},
		"a grace of an expired token": {time.Hour, time.Minute, 0},
	} {
		at := now.Add(c.after)
		got := first.Replaced("second", at, 0, c.grace)
		want := session.Token{Digest: "second", RotatedAt: at}
		if c.end > 0 {
			want.PreviousDigest, want.PreviousExpiresAt = "first", now.Add(c.end)
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if end := got.GraceEnd(at); !end.Equal(want.PreviousExpiresAt) || !got.GraceEnd(at.Add(time.Hour)).IsZero() {
			t.Errorf("%s: the grace ends at %s, want %s and nothing an hour later", name, end, want.PreviousExpiresAt)
		}
	}
}

func TestSweptTokenHasNoExpiredDigests(t *testing.T) {
	t.Parallel()
	now := time.Now()
	token := session.Token{}.Replaced("first", now, time.Hour, 0).Replaced("second", now, 2*time.Hour, time.Minute)
	if got, n := token.Swept(now); n != 0 || got != token {
		t.Errorf("both are accepted: got %+v and %d swept, want no change", got, n)
	}
	if got, n := token.Swept(now.Add(time.Minute)); n != 1 || got.PreviousDigest != "" || !got.PreviousExpiresAt.IsZero() || got.Digest == "" {
		t.Errorf("after the grace: got %+v and %d swept, want the previous one removed", got, n)
	}
	if got, n := token.Swept(now.Add(2 * time.Hour)); n != 2 || got.Digest != "" || got.ExpiresAt.IsZero() || got.RotatedAt.IsZero() {
		t.Errorf("after the expiry: got %+v and %d swept, want both digests removed and the dates kept", got, n)
	}
}
