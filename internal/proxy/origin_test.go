package proxy

import (
	"net/http"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/session"
)

func TestRequestsOfForeignOriginsAreRefused(t *testing.T) {
	t.Parallel()
	plain := setup(t, func(http.ResponseWriter, *http.Request) {})
	behindTLS := setupBehind(t, believing, func(http.ResponseWriter, *http.Request) {})
	const host = "berth.example:8080"

	type header = map[string]string
	for name, c := range map[string]struct {
		env    *fixture
		method string
		header header
		want   int
	}{
		"no origin":                      {plain, "POST", header{}, 200},
		"own origin":                     {plain, "POST", header{"Origin": "http://berth.example:8080"}, 200},
		"own origin in capitals":         {plain, "POST", header{"Origin": "http://BERTH.example:8080"}, 200},
		"own origin, same-origin":        {plain, "DELETE", header{"Origin": "http://berth.example:8080", "Sec-Fetch-Site": "same-origin"}, 200},
		"typed in":                       {plain, "POST", header{"Sec-Fetch-Site": "none"}, 200},
		"other host":                     {plain, "POST", header{"Origin": "http://evil.example"}, 403},
		"other port":                     {plain, "POST", header{"Origin": "http://berth.example:9090"}, 403},
		"no port":                        {plain, "POST", header{"Origin": "http://berth.example"}, 403},
		"other scheme":                   {plain, "POST", header{"Origin": "https://berth.example:8080"}, 403},
		"sub-domain":                     {plain, "POST", header{"Origin": "http://a.berth.example:8080"}, 403},
		"suffix":                         {plain, "POST", header{"Origin": "http://evil-berth.example:8080"}, 403},
		"user part":                      {plain, "POST", header{"Origin": "http://berth.example:8080@evil.example"}, 403},
		"path":                           {plain, "POST", header{"Origin": "http://berth.example:8080/"}, 403},
		"null":                           {plain, "POST", header{"Origin": "null"}, 403},
		"garbage":                        {plain, "POST", header{"Origin": "http://%zz"}, 403},
		"list":                           {plain, "POST", header{"Origin": "http://berth.example:8080 http://evil.example"}, 403},
		"opencode.ai":                    {plain, "POST", header{"Origin": "https://app.opencode.ai"}, 403},
		"cross-site, no origin":          {plain, "POST", header{"Sec-Fetch-Site": "cross-site"}, 403},
		"same-site, no origin":           {plain, "PUT", header{"Sec-Fetch-Site": "same-site"}, 403},
		"unheard-of site":                {plain, "POST", header{"Sec-Fetch-Site": "next-door"}, 403},
		"PATCH":                          {plain, "PATCH", header{"Origin": "http://evil.example"}, 403},
		"DELETE":                         {plain, "DELETE", header{"Origin": "http://evil.example"}, 403},
		"unknown method":                 {plain, "BREW", header{"Origin": "http://evil.example"}, 403},
		"GET":                            {plain, "GET", header{"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, 200},
		"HEAD":                           {plain, "HEAD", header{"Origin": "http://evil.example"}, 200},
		"OPTIONS":                        {plain, "OPTIONS", header{"Origin": "http://evil.example"}, 200},
		"upgrade":                        {plain, "GET", header{"Origin": "http://evil.example", "Connection": "Upgrade", "Upgrade": "websocket"}, 403},
		"upgrade, null":                  {plain, "GET", header{"Origin": "null", "Connection": "Upgrade", "Upgrade": "websocket"}, 403},
		"upgrade, same-site":             {plain, "GET", header{"Sec-Fetch-Site": "same-site", "Connection": "Upgrade", "Upgrade": "websocket"}, 403},
		"upgrade, own origin":            {plain, "GET", header{"Origin": "http://berth.example:8080", "Connection": "Upgrade", "Upgrade": "websocket"}, 200},
		"https forwarded, not trusted":   {plain, "POST", header{"Origin": "https://berth.example:8080", "X-Forwarded-Proto": "https"}, 403},
		"https by a trusted proxy":       {behindTLS, "POST", header{"Origin": "https://berth.example:8080", "X-Forwarded-Proto": "https"}, 200},
		"http by a trusted proxy":        {behindTLS, "POST", header{"Origin": "https://berth.example:8080", "X-Forwarded-Proto": "http"}, 403},
		"last of several is the proxy's": {behindTLS, "POST", header{"Origin": "https://berth.example:8080", "X-Forwarded-Proto": "http, https"}, 200},
		"a client's value before it":     {behindTLS, "POST", header{"Origin": "https://berth.example:8080", "X-Forwarded-Proto": "https, http"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := c.env.request(t, c.method, "/x", nil)
			r.Host = host
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			got := c.env.do(t, r)
			if got.status != c.want {
				t.Errorf("got %d, want %d\n%s", got.status, c.want, got.body)
			}
			if c.want == 403 && got.code() != session.CodeForbidden {
				t.Errorf("code: got %q, want %q", got.code(), session.CodeForbidden)
			}
			if c.want == 403 && !strings.Contains(got.body, "TRUSTED_PROXIES") {
				t.Errorf("got %s, want the name of the setting of trusted proxies", got.body)
			}
		})
	}
}

func TestTwoOriginsAreRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) {})
	r := w.request(t, http.MethodPost, "/x", nil)
	r.Header["Origin"] = []string{w.front.URL, "http://evil.example"}
	w.do(t, r).mustBe(t, 403, session.CodeForbidden, "servers differ in which of two they read")
}

// believing determines the client of a request as Berth's server does, and trusts the forwarded scheme.
func believing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := access.Proxies(nil).Client(r.RemoteAddr, r.TLS != nil, nil, r.Header["X-Forwarded-Proto"], true)
		next.ServeHTTP(w, r.WithContext(access.WithClient(r.Context(), c)))
	})
}
