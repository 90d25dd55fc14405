package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/session"
)

// provider is a scripted identity provider, at which alice signs in.
type provider struct {
	err error
	to  *string // where she returns to; nil: "/"
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
		to = *s.to
	}
	return access.Principal{Kind: access.Owner, Owner: "alice"}, to, s.err
}

func (provider) SignOutURL(context.Context) (string, error) { return "https://login.example/end", nil }

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
	for _, path := range []string{httpapi.LoginPath, httpapi.CallbackPath, httpapi.OpenPath, httpapi.SignOutPath} {
		if got := w.call(http.MethodGet, path, "", ""); got.status != http.StatusNotFound {
			t.Errorf("%s without a provider: got %d, want 404", path, got.status)
		}
	}
}

func TestLoginPassesReturnAddress(t *testing.T) {
	t.Parallel()
	w := newSignInFixture(t, nil, nil)
	for to, want := range map[string]string{"ses-a": httpapi.OpenPath + "?session=ses-a", "/ui/": "/ui/", "": ""} {
		if got := w.call(http.MethodGet, httpapi.LoginPath+"?return_to="+to, "", ""); got.header.Get("Returns-To") != want {
			t.Errorf("%q: got %d to %q, want %q", to, got.status, got.header.Get("Returns-To"), want)
		}
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
