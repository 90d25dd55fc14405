package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/outcome"
	"berth/internal/proxy"
	"berth/internal/session"
)

// A code has the same HTTP status from the API and from the proxy, with Berth's problem writer and with the proxy's own.
func TestEveryCodeHasTheSameStatusInAPIAndProxy(t *testing.T) {
	t.Parallel()
	keys, err := access.NewKeys([]byte("a secret of more than sixteen bytes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range session.Codes() {
		want, failure := outcome.Of(code).Status, session.Errorf(code, "x")
		if want < 400 || want > 599 {
			t.Errorf("%s: its status is %d", code, want)
		}
		doors := map[string]http.Handler{
			"API": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { httpapi.WriteProblem(w, r, failure) }),
		}
		if code != session.CodeCanceled { // to the proxy this means that the client closed the request, which gets no answer
			doors["session"] = failingProxy(t, keys, failure, httpapi.WriteProblem)
			doors["session by itself"] = failingProxy(t, keys, failure, nil)
		}
		retries := map[string]string{}
		for name, door := range doors {
			server := httptest.NewServer(door)
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/s/ses-one/x", nil)
			request.Header.Set("Authorization", "Bearer token")
			res, err := server.Client().Do(request)
			if err != nil {
				t.Fatalf("%s, %s: %v", code, name, err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			server.Close()
			var problem struct {
				Code   session.Code
				Status int
			}
			if err := json.Unmarshal(body, &problem); err != nil || res.StatusCode != want || problem.Status != want || problem.Code != code {
				t.Errorf("%s, %s: got %d %s, want %d", code, name, res.StatusCode, body, want)
			}
			retries[name] = res.Header.Get("Retry-After")
		}
		for name := range doors {
			if retries[name] != retries["API"] || (retries[name] != "") != (outcome.Of(code).RetryAfter > 0) {
				t.Errorf("%s: Retry-After %q, want the same everywhere, and one where a retry can succeed", code, retries)
			}
		}
	}
}

// failingProxy is a proxy whose every request fails with err.
func failingProxy(t *testing.T, keys access.Keys, failure error, write func(http.ResponseWriter, *http.Request, error)) *proxy.Proxy {
	t.Helper()
	table := proxy.NewTable()
	t.Cleanup(table.Close)
	table.Set(session.Route{ID: "ses-one", Address: "10.0.0.2:1", Token: session.Token{Digest: keys.Digest("token")}, Running: true})
	authority, err := access.New(access.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Options{
		Table: table, Access: authority, Logger: slog.New(slog.DiscardHandler), WriteProblem: write,
		Transport: proxy.Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, failure }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
