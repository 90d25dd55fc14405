package access_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

const admin = session.Secret("the operator's own token")

// known is the tokens and owners of a store, which counts how often it is asked.
type known struct {
	tokens map[session.ID]session.Token
	owners map[session.ID]string
	asked  int
	err    error // of the store
}

func (k *known) TokenOf(_ context.Context, id session.ID) session.Token {
	k.asked++
	return k.tokens[id]
}

func (k *known) OwnerOf(_ context.Context, id session.ID) (string, error) {
	k.asked++
	owner, ok := k.owners[id]
	if !ok && k.err == nil {
		return "", session.NotFound(id)
	}
	return owner, k.err
}

func authority(t *testing.T, o access.Options) *access.Authority {
	t.Helper()
	o.Keys, o.AdminToken = keys(t, "the secret of this very test"), admin
	a, err := access.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAdmitFindsThePrincipal(t *testing.T) {
	t.Parallel()
	a := authority(t, access.Options{})
	later := time.Now().Add(time.Hour)
	store := &known{tokens: map[session.ID]session.Token{"ses-one": {
		Digest: a.Keys.Digest("own"), PreviousDigest: a.Keys.Digest("before"), PreviousExpiresAt: later,
	}, "ses-late": {Digest: a.Keys.Digest("own"), ExpiresAt: time.Now().Add(-time.Hour)}}}
	for name, c := range map[string]struct {
		verb   access.Verb
		id     session.ID
		secret session.Secret
		want   access.Kind
		reason string // of a rejection
		asked  int
	}{
		"operator":                    {access.Read, "ses-one", admin, access.Operator, "", 0},
		"operator at a session":       {access.Open, "ses-one", admin, 0, "wrong", 1},
		"own token":                   {access.Read, "ses-one", "own", access.SessionToken, "", 1},
		"previous token":              {access.Open, "ses-one", "before", access.PreviousToken, "", 1},
		"previous token rotates":      {access.Rotate, "ses-one", "before", 0, "wrong", 1},
		"own token, another session":  {access.Read, "ses-two", "own", 0, "wrong", 1},
		"own token, no session":       {access.Read, "", "own", 0, "wrong", 1},
		"expired token":               {access.Read, "ses-late", "own", 0, "expired", 1},
		"no token":                    {access.Read, "ses-one", "", 0, "missing", 0},
		"own token, operator's verb":  {access.Write, "ses-one", "own", 0, "wrong", 0},
		"no token, operator's verb":   {access.List, "", "", 0, "missing", 0},
		"no token, everyone's verb":   {access.Status, "", "", access.Anonymous, "", 0},
		"own token, everyone's verb":  {access.Status, "ses-one", "own", access.Anonymous, "", 0},
		"operator at everyone's verb": {access.Status, "", admin, access.Operator, "", 0},
	} {
		store.asked = 0
		p, err := a.Admit(t.Context(), access.Ask{Surface: access.API, Verb: c.verb, Session: c.id, Secret: c.secret}, store)
		r, rejected := errors.AsType[*access.RejectionError](err)
		if rejected != (c.reason != "") || rejected && (r.Reason != c.reason || session.CodeOf(err) != session.CodeUnauthorized) || p.Kind != c.want {
			t.Errorf("%s: got kind %d, %v; want kind %d, rejected for %q", name, p.Kind, err, c.want, c.reason)
		}
		if store.asked != c.asked {
			t.Errorf("%s: asked for %d tokens, want %d", name, store.asked, c.asked)
		}
	}
}

func TestNoAdminTokenIsNoOperator(t *testing.T) {
	t.Parallel()
	a, err := access.New(access.Options{Keys: keys(t, "the secret of this very test")})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := a.Admit(t.Context(), access.Ask{Surface: access.API, Verb: access.List}, &known{}); err == nil || p.Kind != access.Anonymous {
		t.Errorf("an empty token where there is none: got %v, %v; want it rejected", p.Kind, err)
	}
	if _, err := access.New(access.Options{AdminToken: "fifteen letters"}); err == nil {
		t.Error("an admin token of 15 characters is accepted")
	}
}

func TestPrincipalHoldsAsLongAsItsToken(t *testing.T) {
	t.Parallel()
	a := authority(t, access.Options{})
	now := time.Now()
	own := session.Token{}.Replaced(a.Keys.Digest("own"), now, time.Hour, 0)
	p, err := a.Admit(t.Context(), access.Ask{Surface: access.API, Verb: access.Read, Session: "ses-one", Secret: "own"},
		&known{tokens: map[session.ID]session.Token{"ses-one": own}})
	if err != nil {
		t.Fatal(err)
	}
	graced := own.Replaced("another", now, time.Hour, time.Minute)
	for name, c := range map[string]struct {
		token session.Token
		after time.Duration
		want  bool
	}{
		"unchanged":             {own, 0, true},
		"expired":               {own, time.Hour, false},
		"in its grace":          {graced, 59 * time.Second, true},
		"after its grace":       {graced, time.Minute, false},
		"replaced":              {own.Replaced("another", now, time.Hour, 0), 0, false},
		"swept":                 {session.Token{}, 0, false},
		"before the last grace": {graced.Replaced("third", now, time.Hour, time.Minute), 0, false},
	} {
		if got := p.StillHolds(c.token, now.Add(c.after)); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if (access.Principal{}).StillHolds(session.Token{}, now) || !(access.Principal{Kind: access.Operator}).StillHolds(session.Token{}, now) {
		t.Error("want nothing to hold for an anonymous principal, and everything for the operator")
	}
}

func TestVisitorsAreRecordedOnceAndStreamsAlways(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	a := authority(t, access.Options{Trail: access.NewTrail(slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.DiscardHandler))})
	store := &known{tokens: map[session.ID]session.Token{"ses-one": {Digest: a.Keys.Digest("own")}}}
	client := &access.Client{Address: "192.0.2.1:4711", Site: netip.MustParseAddr("192.0.2.1")}
	ctx := access.WithClient(t.Context(), client)
	ask := access.Ask{Surface: access.Proxy, Operation: "proxy", Verb: access.Open, Session: "ses-one", Secret: "own"}
	for range 3 {
		p, err := a.Admit(ctx, ask, store)
		if err != nil {
			t.Fatal(err)
		}
		a.StreamBegan(ctx, p)
	}
	if visits, streams := strings.Count(log.String(), "route=proxy"), strings.Count(log.String(), "route=stream"); visits != 1 || streams != 3 {
		t.Errorf("got %d visits and %d streams, want 1 and 3:\n%s", visits, streams, log.String())
	}
	if !strings.Contains(log.String(), "actor=user") || !strings.Contains(log.String(), "remote=192.0.2.1:4711") || client.Principal().Kind != access.SessionToken {
		t.Errorf("want the user and the address, and the client known by its token: %v\n%s", client.Principal().Kind, log.String())
	}
}
