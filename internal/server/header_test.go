package server

import (
	"io"
	"net/http"
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
			size          int
			want          int
		}{
			"cookies that fit":            {"Cookie", "text/html", maxCookies - 10, http.StatusOK},
			"too many cookies":            {"Cookie", "text/html", maxCookies, http.StatusRequestHeaderFieldsTooLarge},
			"as many as a browser stores": {"Cookie", "*/*", 180 * 4096, http.StatusRequestHeaderFieldsTooLarge},
			"another field":               {"X-Other", "text/html", maxFields, http.StatusRequestHeaderFieldsTooLarge},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+e.Addr().String()+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", c.accept)
			req.Header.Set(c.field, "a="+strings.Repeat("x", c.size-2))
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			cleared := res.Header.Get("Clear-Site-Data") == `"cookies"`
			if res.StatusCode != c.want || cleared != (c.want != http.StatusOK && c.field == "Cookie") {
				t.Errorf("%s over HTTP/2 %v: got %s with Clear-Site-Data %q, want %d", name, http2, res.Status, res.Header.Get("Clear-Site-Data"), c.want)
			}
			if page := strings.Contains(string(text), "<h1>Too many cookies</h1>"); page != (cleared && c.accept == "text/html") {
				t.Errorf("%s over HTTP/2 %v: got the page %v", name, http2, page)
			}
		}
	}
}
