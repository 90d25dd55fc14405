package telemetry

import (
	"context"
	"strings"
	"testing"
)

func TestRequestIDsAreCheckedAndMade(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "req-abc123", "A.b_c-9", strings.Repeat("x", 128), NewRequestID()} {
		if !ValidRequestID(id) {
			t.Errorf("%q is refused", id)
		}
	}
	for _, id := range []string{"", " ", "a b", "a\n", "ä", "a/b", strings.Repeat("x", 129)} {
		if ValidRequestID(id) {
			t.Errorf("%q is accepted", id)
		}
	}
	if a, b := NewRequestID(), NewRequestID(); a == b || !strings.HasPrefix(a, "req-") {
		t.Errorf("got %q and %q, want two different IDs that begin with req-", a, b)
	}
}

func TestContextCarriesIDs(t *testing.T) {
	t.Parallel()
	ctx := WithSessionID(WithRequestID(t.Context(), "r"), "s")
	if RequestID(ctx) != "r" || SessionID(ctx) != "s" {
		t.Errorf("got %q and %q, want r and s", RequestID(ctx), SessionID(ctx))
	}
	if RequestID(context.Background()) != "" || SessionID(context.Background()) != "" {
		t.Error("an empty context has IDs")
	}
}
