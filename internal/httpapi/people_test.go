package httpapi_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/origin"
	"berth/internal/session"
)

// provider is a scripted identity provider, at which alice signs in to a session.
type provider struct {
	err error
	to  *session.ID // nil: to none
}

func (s provider) Begin(w http.ResponseWriter, _ *http.Request, returnTo string) error {
	if s.err == nil {
		w.Header().Set("Returns-To", returnTo)
	}
	return s.err
}

func (s provider) Finish(w http.ResponseWriter, _ *http.Request) (access.Principal, string, error) {
	to := "/"
	if s.to != nil {
		to = string(*s.to)
	}
	return access.Principal{Kind: access.Owner, Owner: "alice"}, to, s.err
}

func newSignInFixture(t *testing.T, err error, change func(*httpapi.Options)) *fixture {
	t.Helper()
	return newFixtureWith(t, func(w *fixture, o *httpapi.Options) {
		o.Access, o.SignIn = w.admitting(access.NewThrottle()), provider{err: err}
		if change != nil {
			change(o)
		}
	})
}

func TestSignInRoutesExistWithProviderOnly(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, path := range []string{httpapi.LoginPath, httpapi.CallbackPath} {
		if got := w.call(http.MethodGet, path, "", ""); got.status != http.StatusNotFound {
			t.Errorf("%s without a provider: got %d, want 404", path, got.status)
		}
	}
}

func TestLoginPassesReturnAddress(t *testing.T) {
	t.Parallel()
	w := newSignInFixture(t, nil, nil)
	if got := w.call(http.MethodGet, httpapi.LoginPath+"?return_to=ses-a", "", ""); got.header.Get("Returns-To") != "ses-a" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	if got := w.call(http.MethodGet, httpapi.LoginPath+"?return_to=ses-a&return_to=ses-b", "", ""); got.status != http.StatusUnprocessableEntity {
		t.Errorf("two addresses: got %d, want 422", got.status)
	}
}

// callback opens the callback and does not follow it.
func (w *fixture) callback() answer {
	w.t.Helper()
	rw := httptest.NewRecorder()
	w.api.Handler().ServeHTTP(rw, httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, httpapi.CallbackPath, nil))
	return answer{rw.Code, rw.Header(), rw.Body.Bytes()}
}

func TestOwnerIsSentToOwnSession(t *testing.T) {
	t.Parallel()
	var to session.ID
	w := newSignInFixture(t, nil, func(o *httpapi.Options) {
		o.SignIn, o.Addresses = provider{to: &to}, origin.New(origin.Options{Loopback: true, Listen: 8080}).Of
	})
	hers, _ := w.Make(lifecycle.Request{Owner: "alice"})
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	nobodys, _ := w.Make(lifecycle.Request{})

	to = hers.ID
	got := w.callback()
	prefix := "http://" + string(hers.ID) + ".localhost:8080/.berth/link/"
	code, isLink := strings.CutPrefix(got.header.Get("Location"), prefix)
	record, err := w.Get(t.Context(), hers.ID)
	if got.status != http.StatusSeeOther || !isLink || err != nil {
		t.Fatalf("got %d %v (%v), want a redirect to %s…", got.status, got.header, err, prefix)
	}
	if _, ok := record.Redeemed(w.Keys.CodeDigest(session.Secret(code)), w.Options.Now()); !ok {
		t.Errorf("the code of the redirect is not that of a link: %+v", record.Links)
	}
	var texts []string
	for _, to = range []session.ID{his.ID, nobodys.ID, "ses-none"} {
		got := w.callback()
		if got.status != http.StatusNotFound || got.header.Get("Location") != "" {
			t.Errorf("%s: got %d %s, want 404", to, got.status, got.body)
		}
		texts = append(texts, strings.ReplaceAll(string(got.body), string(to), "ID"))
	}
	if texts[0] != texts[1] || texts[1] != texts[2] {
		t.Errorf("got %q, want the same for another's session and for none", texts)
	}
}

func TestSignInToNoSessionNamesThePerson(t *testing.T) {
	t.Parallel()
	w := newSignInFixture(t, nil, nil)
	if got := w.call(http.MethodGet, httpapi.CallbackPath, "", ""); got.status != http.StatusOK || !strings.Contains(string(got.body), "alice") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestSignInFailureIsPlainText(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	failure := session.Errorf(session.CodeUnauthorized, "<script>alert(1)</script>").Because(errors.New("the cause"))
	w := newSignInFixture(t, failure, func(o *httpapi.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	got := w.call(http.MethodGet, httpapi.CallbackPath, "", "")
	if got.status != http.StatusUnauthorized || got.header.Get("Content-Type") != "text/plain; charset=utf-8" ||
		got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v, want text that no browser takes for a page", got.status, got.header)
	}
	if text := string(got.body); !strings.Contains(text, failure.Message) || strings.Contains(text, "the cause") || !strings.Contains(log.String(), "the cause") {
		t.Errorf("got %q and the log %q, want the cause in the log only", text, log.String())
	}
}

func TestFailedCallbacksAreThrottled(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code session.Code
		want int
	}{
		"no sign-in":    {session.CodeUnauthorized, http.StatusTooManyRequests},
		"configuration": {session.CodeInternal, http.StatusTooManyRequests},
		"unavailable":   {session.CodeIdentityUnavailable, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSignInFixture(t, session.Errorf(tc.code, "no"), nil)
			var last answer
			for range 3 * access.Burst {
				last = w.call(http.MethodGet, httpapi.CallbackPath, "", "")
			}
			if last.status != tc.want || last.header.Get("Retry-After") == "" {
				t.Errorf("got %d %v, want %d with the time to wait", last.status, last.header, tc.want)
			}
		})
	}
}
