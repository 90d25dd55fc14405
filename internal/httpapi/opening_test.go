package httpapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/origin"
	"berth/internal/session"
)

const binding = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// openAt is where a session's own origin sends a browser.
func openAt(at, binding string) string {
	return httpapi.OpenPath + "?" + url.Values{"at": {at}, "binding": {binding}}.Encode()
}

// newOpeningFixture is one in which sessions have names below localhost, and alice returns to the path *to.
func newOpeningFixture(t *testing.T, to *string) *fixture {
	t.Helper()
	origins := origin.New(origin.Options{Loopback: true, Listen: 8080})
	return newSignInFixture(t, nil, func(o *httpapi.Options) {
		o.SignIn, o.Addresses = provider{to: to}, origins.Of
		o.SessionAt = func(u *url.URL) session.ID {
			_, label := origins.Find(u.Host)
			return session.ID(label)
		}
	})
}

func homeOf(id session.ID) string { return "http://" + string(id) + ".localhost:8080/" }

func TestOwnerIsSentToOwnSessionWithALinkForTheBrowser(t *testing.T) {
	t.Parallel()
	var to string
	w := newOpeningFixture(t, &to)
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	nobodys, _ := w.Make(lifecycle.Request{})

	begun := w.call(http.MethodGet, openAt(homeOf(hers.ID), binding), "", "")
	to = begun.header.Get("Returns-To")
	got := w.callback()
	code, isLink := strings.CutPrefix(got.header.Get("Location"), homeOf(hers.ID)+".berth/link/")
	record, err := w.Get(t.Context(), hers.ID)
	if got.status != http.StatusSeeOther || !isLink || err != nil {
		t.Fatalf("got %d %v (%v) after %q, want a redirect to a link", got.status, got.header, err, to)
	}
	digest := w.Keys.CodeDigest(session.Secret(code))
	if _, _, ok := record.Redeemed(digest, "", w.Options.Now()); ok {
		t.Error("a browser that has not begun the sign-in can use the link")
	}
	if _, _, ok := record.Redeemed(digest, binding, w.Options.Now()); !ok {
		t.Errorf("the code of the redirect is not that of a link: %+v", record.Links)
	}

	texts := map[string]bool{}
	for _, at := range []string{homeOf(his.ID), homeOf(nobodys.ID), homeOf("ses-none"), "http://evil.example/", "https://" + string(hers.ID) + ".localhost:8080/"} {
		to = openAt(at, binding)
		got := w.callback()
		if got.status != http.StatusNotFound || got.header.Get("Location") != "" {
			t.Errorf("%s: got %d %s, want 404", at, got.status, got.body)
		}
		texts[string(got.body)] = true
	}
	if len(texts) != 1 {
		t.Errorf("got %v, want the same for another's session, for none, and for an address that is none", texts)
	}
}

// Who begins at Berth's own address has nothing yet that a link could be bound to.
func TestOwnerBeginsAtTheSessionsOrigin(t *testing.T) {
	t.Parallel()
	var to string
	w := newOpeningFixture(t, &to)
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	to = httpapi.OpenPath + "?session=" + string(hers.ID)
	if got := w.callback(); got.status != http.StatusSeeOther || got.header.Get("Location") != homeOf(hers.ID)+".berth/account" {
		t.Errorf("got %d to %s", got.status, got.header.Get("Location"))
	}
	if record, err := w.Get(t.Context(), hers.ID); err != nil || len(record.Links) != 0 {
		t.Errorf("got the links %+v (%v), want none", record.Links, err)
	}
	to = httpapi.OpenPath + "?session=" + string(his.ID)
	if got := w.callback(); got.status != http.StatusNotFound || got.header.Get("Location") != "" {
		t.Errorf("another's session: got %d to %s, want 404", got.status, got.header.Get("Location"))
	}
}

func TestOpeningNeedsASessionAndABrowser(t *testing.T) {
	t.Parallel()
	w := newOpeningFixture(t, nil)
	home := homeOf("ses-a")
	for _, path := range []string{
		httpapi.OpenPath, openAt(home, ""), openAt(home, "x"), openAt(home, strings.ToUpper(binding)), openAt("", binding), openAt("/", binding),
		openAt(home+"x", binding), openAt("http://"+strings.Repeat("a", 300)+"/", binding), openAt(home, binding) + "&session=ses-a",
		openAt(home, binding) + "&binding=" + binding, httpapi.OpenPath + "?session=Not-An-ID", httpapi.OpenPath + "?session=ses-a&binding=" + binding,
	} {
		if got := w.call(http.MethodGet, path, "", ""); got.status != http.StatusUnprocessableEntity || got.header.Get("Returns-To") != "" {
			t.Errorf("%s: got %d, want 422", path, got.status)
		}
	}
}
