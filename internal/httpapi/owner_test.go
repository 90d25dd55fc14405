package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// people are owners by their tokens.
type people map[session.Secret]string

func (p people) Verify(_ context.Context, secret session.Secret) (access.Principal, access.TokenState, error) {
	if owner, ok := p[secret]; ok {
		return access.Principal{Kind: access.Owner, Owner: owner}, access.Present, nil
	}
	return access.Principal{}, access.Wrong, nil
}

const (
	alicesToken = "the sign-in of alice"
	bobsToken   = "the sign-in of bob"
)

func TestOwnerListsOwnSessionsOnly(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	w.Make(lifecycle.Request{Owner: "bob"})
	w.Make(lifecycle.Request{})
	type page struct {
		Sessions []struct {
			ID session.ID `json:"session_id"`
		} `json:"sessions"`
	}
	for path, want := range map[string]int{
		"/sessions": 1, "/sessions?owner=alice": 1, "/sessions?owner=bob": 0, "/sessions?status=running": 1, "/sessions?limit=1": 1,
		"/auth/sessions": 1, "/auth/sessions?owner=bob": 0,
	} {
		got := decode[page](t, w.call(http.MethodGet, path, alicesToken, "")).Sessions
		if len(got) != want || want == 1 && got[0].ID != hers.ID {
			t.Errorf("%s: got %v, want %d of her own", path, got, want)
		}
	}
	if all := decode[page](t, w.call(http.MethodGet, "/sessions", adminToken, "")).Sessions; len(all) != 3 {
		t.Errorf("the operator sees %d sessions, want all 3", len(all))
	}
}

func TestOwnerCreatesForThemselvesOnly(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for body, want := range map[string]struct {
		status int
		owner  string
	}{
		``:                            {http.StatusCreated, "alice"},
		`{}`:                          {http.StatusCreated, "alice"},
		`{"owner":"alice"}`:           {http.StatusCreated, "alice"},
		`{"owner":"bob"}`:             {http.StatusForbidden, ""},
		`{"owner":"Alice"}`:           {http.StatusForbidden, ""},
		`{"image":"berth/other:1.0"}`: {http.StatusForbidden, ""},
	} {
		a := w.call(http.MethodPost, "/sessions", alicesToken, body)
		if a.status != want.status {
			t.Errorf("%s: got %d %s, want %d", body, a.status, a.body, want.status)
			continue
		}
		if a.status != http.StatusCreated {
			if code := a.problem(t).Code; code != session.CodeForbidden {
				t.Errorf("%s: got the code %s, want %s", body, code, session.CodeForbidden)
			}
			continue
		}
		made := decode[httpapi.NewSession](t, a)
		if made.Owner != want.owner || made.Token == "" {
			t.Errorf("%s: got the owner %q and a token of %d characters, want %q and her session's token", body, made.Owner, len(made.Token), want.owner)
		}
	}
}

// Another's session and none are told apart by nothing, on every route that is about one session.
func TestOwnerSeesNothingOfOthersSessions(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	nobodys, _ := w.Make(lifecycle.Request{})
	none := session.NewID()
	for _, r := range w.api.Routes() {
		if !strings.Contains(r.Path, "{id}") {
			continue
		}
		want := w.call(r.Method, strings.Replace(r.Path, "{id}", string(none), 1), alicesToken, "")
		if want.problem(t).Code != session.CodeNotFound {
			t.Errorf("%s %s: got %d %s for no session, want %s", r.Method, r.Path, want.status, want.body, session.CodeNotFound)
		}
		for _, id := range []session.ID{his.ID, nobodys.ID} {
			got := w.call(r.Method, strings.Replace(r.Path, "{id}", string(id), 1), alicesToken, "")
			a, b := got.problem(t), want.problem(t)
			if a.Detail = strings.ReplaceAll(a.Detail, string(id), string(none)); a.Detail != b.Detail || a.Code != b.Code || got.status != want.status {
				t.Errorf("%s %s: got %s for another's session and %s for none", r.Method, r.Path, got.body, want.body)
			}
		}
	}
	if a := w.call(http.MethodGet, "/sessions/"+string(his.ID), bobsToken, ""); a.status != http.StatusOK {
		t.Errorf("bob: got %d %s, want his session, which nobody has changed", a.status, a.body)
	}
}

func TestOwnerUsesOwnSessions(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	path := "/sessions/" + string(hers.ID)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, path, http.StatusOK},
		{http.MethodGet, path + "/events", http.StatusOK},
		{http.MethodGet, path + "/logs", http.StatusOK},
		{http.MethodGet, path + "/auth", http.StatusOK},
		{http.MethodPost, path + "/stop", http.StatusOK},
		{http.MethodPost, path + "/start", http.StatusOK},
		{http.MethodPost, path + "/auth/rotate", http.StatusOK},
		{http.MethodDelete, path, http.StatusNoContent},
		{http.MethodGet, path, http.StatusNotFound},
	} {
		if a := w.call(c.method, c.path, alicesToken, ""); a.status != c.status {
			t.Errorf("%s %s: got %d %s, want %d", c.method, c.path, a.status, a.body, c.status)
		}
	}
	if a := w.call(http.MethodPost, path+"/upgrade", alicesToken, `{"image":"berth/other:1.0"}`); a.status != http.StatusNotFound {
		t.Errorf("an upgrade of a deleted session: got %d %s, want 404", a.status, a.body)
	}
}
