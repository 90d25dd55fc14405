package access_test

import (
	"context"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

func person(value session.Secret) access.Ask {
	return access.Ask{Surface: access.API, Operation: "list-sessions", Verb: access.List, Person: value}
}

func TestPersonStaysSignedInOnEveryInstance(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	a := authority(t, access.Options{Provider: "one", Now: clock})
	other := authority(t, access.Options{Provider: "one", Now: clock})
	moved := authority(t, access.Options{Provider: "another", Now: clock})
	for _, who := range []access.Principal{
		{Kind: access.Owner, Owner: "alice", AuthTime: now.Add(-time.Hour).UTC().Truncate(time.Second)},
		{Kind: access.Operator, Owner: "carol", Name: "carol"},
	} {
		value, until := a.NewPersonSignIn(who)
		p, err := other.Admit(t.Context(), person(value), &known{})
		if err != nil || p.Kind != who.Kind || p.Actor() != who.Actor() || !p.AuthTime.Equal(who.AuthTime) || !p.Until.Equal(until) ||
			until.Sub(now) > access.PersonLife {
			t.Errorf("got %+v, %v; want %+v until %v", p, err, who, until)
		}
		_, err = moved.Admit(t.Context(), person(value), &known{})
		wantCode(t, "with another provider", err, session.CodeUnauthorized)
		last := value[len(value)-2:]
		for name, text := range map[string]session.Secret{
			"empty": "", "no record": ".", "cut": value[:len(value)-2], "changed": "A" + value[1:], "its end changed": value[:len(value)-2] + last[1:] + last[:1] + "A",
		} {
			_, err := a.Admit(t.Context(), person(text), &known{})
			wantCode(t, name, err, session.CodeUnauthorized)
		}
		ask := person(value)
		ask.Secret = "a wrong token"
		_, err = a.Admit(t.Context(), ask, &known{})
		wantCode(t, "beside a wrong token", err, session.CodeUnauthorized)
		ask = person(value)
		ask.Surface, ask.Verb, ask.Session = access.Proxy, access.Open, "ses-one"
		_, err = a.Admit(t.Context(), ask, &known{})
		wantCode(t, "at a session", err, session.CodeUnauthorized)

		now = now.Add(access.PersonLife)
		_, err = a.Admit(t.Context(), person(value), &known{})
		wantCode(t, "expired", err, session.CodeUnauthorized)
	}
}

func TestPersonsRequestsEndWithTheSignOut(t *testing.T) {
	t.Parallel()
	a := authority(t, access.Options{})
	value, _ := a.NewPersonSignIn(access.Principal{Kind: access.Owner, Owner: "alice"})
	another, _ := a.NewPersonSignIn(access.Principal{Kind: access.Owner, Owner: "alice"})
	begin := func(value session.Secret) (context.Context, context.CancelFunc) {
		t.Helper()
		p, err := a.Admit(t.Context(), person(value), &known{})
		if err != nil {
			t.Fatal(err)
		}
		return a.While(t.Context(), p)
	}
	first, done := begin(value)
	defer done()
	second, doneSecond := begin(value)
	doneSecond()
	other, doneOther := begin(another)
	defer doneOther()
	if first.Err() != nil || second.Err() == nil {
		t.Fatalf("after one of two requests has ended: got %v and %v", first.Err(), second.Err())
	}
	a.EndPersonSignIn(value)
	select {
	case <-first.Done():
	case <-time.After(time.Second):
		t.Fatal("the request goes on a second after the sign-out")
	}
	if cause := context.Cause(first); session.CodeOf(cause) != session.CodeUnauthorized || other.Err() != nil {
		t.Errorf("got the cause %v, and for another browser %v", cause, other.Err())
	}
	_, err := a.Admit(t.Context(), person(value), &known{})
	wantCode(t, "a copy of the cookie", err, session.CodeUnauthorized)
}
