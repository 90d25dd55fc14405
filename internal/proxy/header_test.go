package proxy

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestHeadersReachingTheServer(t *testing.T) {
	t.Parallel()
	var got *http.Request
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) { got = r })
	r := w.request(t, http.MethodGet, "/session?a=1&auth_token=stolen&b=2", nil)
	r.Host = "berth.example:8080"
	for name, value := range map[string]string{
		"Cookie":                "theme=dark; berth_session=secret; __Host-berth_login=secret; lang=nb",
		"X-Berth-Admin":         "yes",
		"Forwarded":             "for=1.2.3.4",
		"X-Forwarded-For":       "1.2.3.4",
		"X-Forwarded-Host":      "evil.example",
		"X-Forwarded-Proto":     "https",
		"X-Forwarded-Port":      "1",
		"X-Forwarded-User":      "root",
		"X-Real-Ip":             "1.2.3.4",
		"Connection":            "X-Hop, Authorization, X-Forwarded-For, X-Request-Id",
		"X-Hop":                 "by-hop",
		"Te":                    "gzip",
		"Proxy-Authorization":   "Basic eDp5",
		"Keep-Alive":            "timeout=5",
		"Upgrade":               "h2c",
		"Accept-Encoding":       "zstd",
		"X-Opencode-Directory":  "/workspace",
		"X-Request-Id":          "from-the-client",
		"User-Agent":            "opencode-sdk/1",
		"Sec-Websocket-Version": "13",
	} {
		r.Header.Set(name, value)
	}
	answer := w.do(t, r)
	if got == nil {
		t.Fatalf("the server got no request: %d\n%s", answer.status, answer.body)
	}
	requestID := answer.header.Get("X-Request-Id")
	want := http.Header{
		"Authorization":         {basic(testUser, testGrant.Reveal())},
		"Cookie":                {"theme=dark; lang=nb"},
		"X-Forwarded-For":       {"127.0.0.1"},
		"X-Forwarded-Host":      {"berth.example:8080"},
		"X-Forwarded-Proto":     {"http"},
		"X-Forwarded-Prefix":    {"/s/" + string(testID)},
		"X-Request-Id":          {requestID},
		"Accept-Encoding":       {"zstd"},
		"X-Opencode-Directory":  {"/workspace"},
		"User-Agent":            {"opencode-sdk/1"},
		"Sec-Websocket-Version": {"13"},
	}
	if d := cmp.Diff(want, got.Header); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
	if got.Host != "berth.example:8080" {
		t.Errorf("Host: got %q, want the client's: OpenCode compares it with Origin", got.Host)
	}
	if got.RequestURI != "/session?a=1&b=2" {
		t.Errorf("request line: got %q", got.RequestURI)
	}
	if requestID == "" || requestID == "from-the-client" {
		t.Errorf("request id: got %q, want one that Berth made", requestID)
	}
}

func TestResponseHeadersReachingTheClient(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "by-hop")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("X-Request-Id", "the server's own")
		h.Set("X-Berth-Admin", "yes")
		h.Set("Www-Authenticate", `Basic realm="Secure Area"`)
		h.Set("Service-Worker-Allowed", "/")
		h.Set("Clear-Site-Data", `"*"`)
		h.Set("Strict-Transport-Security", "max-age=1")
		h.Set("Alt-Svc", `h3=":443"`)
		h.Add("Set-Cookie", "a=1; Path=/; HttpOnly")
		h.Add("Set-Cookie", "berth_session=fixed; Path=/")
		h.Add("Set-Cookie", "b=2; Domain=example.com; path=/app")
		h.Set("Content-Type", "text/plain")
		h.Set("Date", "then")
		w.WriteHeader(http.StatusForbidden)
	})
	got := w.get(t, "/")
	want := http.Header{
		"X-Request-Id":   got.header["X-Request-Id"],
		"Set-Cookie":     {"a=1; Path=/s/ses-one/; HttpOnly", "b=2; Path=/s/ses-one/app"},
		"Content-Type":   {"text/plain"},
		"Content-Length": {"0"},
		"Date":           {"then"},

		"Content-Security-Policy": {"sandbox"}, // by path
	}
	if d := cmp.Diff(want, got.header); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
	if len(got.header["X-Request-Id"]) != 1 || got.header.Get("X-Request-Id") == "the server's own" {
		t.Errorf("X-Request-Id: got %q, want one, and Berth's", got.header["X-Request-Id"])
	}
}
