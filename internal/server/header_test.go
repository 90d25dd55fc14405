package server

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestHeaderIsLimitedAndABrowserWithTooManyCookiesIsRepaired(t *testing.T) {
	t.Parallel()
	e := serveEncrypted(t, 16, func(http.ResponseWriter, *http.Request) {})
	for _, http2 := range []bool{true, false} {
		transport := &http.Transport{TLSClientConfig: e.client.Clone(), ForceAttemptHTTP2: http2, DisableKeepAlives: !http2}
		t.Cleanup(transport.CloseIdleConnections)
		for name, c := range map[string]struct {
			field, accept string
			value         string
			size          int
			expired       bool // by Set-Cookie
			cleared       bool // by Clear-Site-Data
		}{
			"cookies that fit":            {"Cookie", "text/html", "a=", maxCookies - 10, false, false},
			"too many cookies":            {"Cookie", "text/html", "a=", maxCookies, true, false},
			"as many as a browser stores": {"Cookie", "*/*", "a=", 180 * 4096, true, false},
			"too many after a repair":     {"Cookie", "text/html", repairCookie + "=1; a=", maxCookies, true, true},
			"another field":               {"X-Other", "text/html", "a=", maxFields, false, false},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+e.Addr().String()+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", c.accept)
			req.Header.Set(c.field, c.value+strings.Repeat("x", c.size-2))
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			want := http.StatusRequestHeaderFieldsTooLarge
			if c.size < maxCookies {
				want = http.StatusOK
			}
			cleared, expired := res.Header.Get("Clear-Site-Data") == `"cookies"`, slices.Contains(res.Header["Set-Cookie"], "a=; Max-Age=0; Path=/")
			if res.StatusCode != want || cleared != c.cleared || expired != c.expired {
				t.Errorf("%s over HTTP/2 %v: got %s, expired %v, cleared %v; want %d, %v, %v", name, http2, res.Status, expired, cleared, want, c.expired, c.cleared)
			}
			if page := strings.Contains(string(text), "<h1>Too many cookies</h1>"); page != ((cleared || expired) && c.accept == "text/html") {
				t.Errorf("%s over HTTP/2 %v: got the page %v", name, http2, page)
			}
		}
	}
}
