package httpapi_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/session"
)

// signIns is a scripted identity provider.
type signIns struct{ err error }

func (s signIns) Begin(w http.ResponseWriter, _ *http.Request, returnTo string) error {
	if s.err == nil {
		w.Header().Set("Returns-To", returnTo)
	}
	return s.err
}

func (s signIns) Finish(w http.ResponseWriter, _ *http.Request) (access.Principal, string, error) {
	w.Header().Set("Set-Cookie", "flow=; Max-Age=0")
	return access.Principal{Kind: access.Owner, Owner: "alice"}, "ses-a", s.err
}

func newSignInFixture(t *testing.T, err error, change func(*httpapi.Options)) *fixture {
	t.Helper()
	return newFixtureWith(t, func(w *fixture, o *httpapi.Options) {
		o.Access, o.SignIn = w.admitting(access.NewThrottle()), signIns{err}
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

func TestCallbackPassesPrincipalOn(t *testing.T) {
	t.Parallel()
	w := newSignInFixture(t, nil, func(o *httpapi.Options) {
		o.SignedIn = func(w http.ResponseWriter, r *http.Request, p access.Principal, returnTo string) {
			_, _ = w.Write([]byte(p.Owner + " " + returnTo + " " + access.PrincipalOf(r.Context()).Owner))
		}
	})
	if got := w.call(http.MethodGet, httpapi.CallbackPath, "", ""); got.status != http.StatusOK || string(got.body) != "alice ses-a alice" {
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
