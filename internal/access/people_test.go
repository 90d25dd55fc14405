package access_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// people are persons by their tokens.
type people map[session.Secret]access.Principal

func (p people) Verify(_ context.Context, secret session.Secret) (access.Principal, access.TokenState, error) {
	if who, ok := p[secret]; ok {
		return who, access.Present, nil
	}
	return access.Principal{}, access.Wrong, nil
}

func TestOwnersReachTheirOwnSessionsOnly(t *testing.T) {
	t.Parallel()
	a := authority(t, access.Options{People: people{
		"alice's":  {Kind: access.Owner, Owner: "alice", Until: time.Now().Add(time.Hour)},
		"late":     {Kind: access.Owner, Owner: "alice", Until: time.Now().Add(-time.Second)},
		"nameless": {Kind: access.Owner}, "odd": {Kind: access.Owner, Owner: "ali\u202ece"}, "long": {Kind: access.Owner, Owner: strings.Repeat("a", 256)},
		"forged": {Kind: access.SessionToken, Session: "ses-hers"}, "root": {Kind: access.Operator, Name: "carol"}, "noname": {Kind: access.Operator},
	}})
	store := &known{owners: map[session.ID]string{"ses-hers": "alice", "ses-his": "bob", "ses-nobodys": ""}}
	for name, c := range map[string]struct {
		surface access.Surface
		verb    access.Verb
		id      session.ID
		secret  session.Secret
		want    access.Kind
		code    session.Code
		asked   int
	}{
		"own":                      {access.API, access.Read, "ses-hers", "alice's", access.Owner, "", 1},
		"own, deleted":             {access.API, access.Delete, "ses-hers", "alice's", access.Owner, "", 1},
		"another's":                {access.API, access.Read, "ses-his", "alice's", 0, session.CodeNotFound, 1},
		"nobody's":                 {access.API, access.Read, "ses-nobodys", "alice's", 0, session.CodeNotFound, 1},
		"none":                     {access.API, access.Read, "ses-none", "alice's", 0, session.CodeNotFound, 1},
		"malformed":                {access.API, access.Read, "", "alice's", 0, session.CodeNotFound, 0},
		"list":                     {access.API, access.List, "", "alice's", access.Owner, "", 0},
		"operator's verb":          {access.API, access.PlatformTokens, "", "alice's", 0, session.CodeForbidden, 0},
		"measurements":             {access.API, access.Metrics, "", "alice's", 0, session.CodeForbidden, 0},
		"everyone's verb":          {access.API, access.Status, "", "alice's", access.Owner, "", 0},
		"sign-in at the proxy":     {access.Proxy, access.Open, "ses-hers", "alice's", 0, session.CodeUnauthorized, 0},
		"expired":                  {access.API, access.Read, "ses-hers", "late", 0, session.CodeUnauthorized, 0},
		"without a name":           {access.API, access.List, "", "nameless", 0, session.CodeUnauthorized, 0},
		"with an invisible name":   {access.API, access.List, "", "odd", 0, session.CodeUnauthorized, 0},
		"with a name too long":     {access.API, access.List, "", "long", 0, session.CodeUnauthorized, 0},
		"another kind":             {access.API, access.List, "", "forged", 0, session.CodeUnauthorized, 0},
		"with the operator's role": {access.API, access.Write, "ses-his", "root", access.Operator, "", 0},
		"operator without a name":  {access.API, access.List, "", "noname", 0, session.CodeUnauthorized, 0},
	} {
		store.asked = 0
		p, err := a.Admit(t.Context(), access.Ask{Surface: c.surface, Verb: c.verb, Session: c.id, Secret: c.secret}, store)
		if session.CodeOf(err) != c.code || p.Kind != c.want {
			t.Errorf("%s: got kind %d, %v; want kind %d, %q", name, p.Kind, err, c.want, c.code)
		}
		if c.surface == access.API && store.asked != c.asked {
			t.Errorf("%s: queried the store %d times, want %d", name, store.asked, c.asked)
		}
	}
}

// Whether a session exists is not told to those who do not own it: the text is that of the store's own error.
func TestOwnerCannotTellAnothersSessionFromNone(t *testing.T) {
	t.Parallel()
	a := authority(t, access.Options{People: people{"alice's": {Kind: access.Owner, Owner: "alice"}}})
	store := &known{owners: map[session.ID]string{"ses-his": "bob"}}
	ask := access.Ask{Surface: access.API, Verb: access.Read, Session: "ses-his", Secret: "alice's"}
	_, err := a.Admit(t.Context(), ask, store)
	if session.MessageOf(err) != session.MessageOf(session.NotFound("ses-his")) {
		t.Errorf("got %v, want %v", err, session.NotFound("ses-his"))
	}
	store.err = session.Errorf(session.CodeStoreUnavailable, "away")
	for _, id := range []session.ID{"ses-his", "ses-none"} {
		ask.Session = id
		if _, err := a.Admit(t.Context(), ask, store); session.CodeOf(err) != session.CodeStoreUnavailable {
			t.Errorf("%s without the store: got %v, want its error", id, err)
		}
	}
}

func TestDenialsAreRecordedWithinAShare(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	reasons := map[string]int{}
	trail := access.NewTrail(slog.New(slog.DiscardHandler), slog.New(slog.NewTextHandler(&log, nil)))
	limit := access.NewThrottle()
	a := authority(t, access.Options{
		People: people{"alice's": {Kind: access.Owner, Owner: "alice"}}, Trail: trail, Throttle: limit,
		Rejected: func(_ access.Surface, reason string) { reasons[reason]++ },
	})
	const tries = 500
	for range tries {
		_, err := a.Admit(t.Context(), access.Ask{Surface: access.API, Verb: access.Instances, Secret: "alice's"}, &known{})
		if r, ok := errors.AsType[*access.RejectionError](err); !ok || r.Reason != access.Forbidden {
			t.Fatalf("got %v, want it forbidden each time: her token is no guess", err)
		}
	}
	if lines := strings.Count(log.String(), "actor=owner:alice"); lines == 0 || lines > 100 || reasons[access.Forbidden] != tries {
		t.Errorf("got %d records and %v, want a share of %d denials recorded and each one counted", lines, reasons, tries)
	}
	log.Reset()
	trail.WriteOmitted(t.Context())
	if got := log.String(); !strings.Contains(got, "omitted=") || !strings.Contains(got, "actor=owner:alice") || !strings.Contains(got, "outcome=refused") {
		t.Errorf("got %s, want the number of records that were left out, under her name", got)
	}
}

func TestRequestsEndWithTheSignIn(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := authority(t, access.Options{Now: func() time.Time { return now }})
	ctx, done := a.While(t.Context(), access.Principal{Kind: access.Owner, Owner: "alice", Until: now.Add(time.Hour)})
	defer done()
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > time.Hour || time.Until(end) < 59*time.Minute {
		t.Errorf("got the end %v, want one in an hour", end)
	}
	ctx, done = a.While(t.Context(), access.Principal{Kind: access.Operator})
	defer done()
	if _, ends := ctx.Deadline(); ends {
		t.Error("the operator's request has an end")
	}
	past := access.Principal{Kind: access.Owner, Owner: "alice", Until: now}
	if past.StillHolds(session.Token{}, now) || !past.StillHolds(session.Token{}, now.Add(-time.Second)) {
		t.Error("want a sign-in to hold until its end")
	}
}

// away are people whose tokens cannot be verified now.
type away struct{}

func (away) Verify(context.Context, session.Secret) (access.Principal, access.TokenState, error) {
	return access.Principal{}, access.Wrong, session.Errorf(session.CodeIdentityUnavailable, "away")
}

func TestTokenThatCannotBeVerifiedIsNotWrong(t *testing.T) {
	t.Parallel()
	counted := 0
	a := authority(t, access.Options{People: away{}, Rejected: func(access.Surface, string) { counted++ }})
	_, err := a.Admit(t.Context(), access.Ask{Surface: access.API, Verb: access.Read, Session: "ses-a", Secret: "x"}, &known{})
	if session.CodeOf(err) != session.CodeIdentityUnavailable || counted > 0 {
		t.Errorf("got error %v and %d counted as wrong, want %s", err, counted, session.CodeIdentityUnavailable)
	}
	if p, err := a.Admit(t.Context(), access.Ask{Surface: access.API, Verb: access.Status, Secret: "x"}, &known{}); err != nil || p.Kind != access.Anonymous {
		t.Errorf("what everyone may see: got %+v and error %v, want an anonymous client admitted", p, err)
	}
}
