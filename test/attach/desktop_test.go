package attach_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"berth/test/chromium"
	"berth/test/harness"
)

// serveDesktop serves a client that is a page of an origin of its own, and returns that origin.
func serveDesktop(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>a desktop client</title>")
	}))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	harness.Must(t, err)
	return "https://app.example.test:" + at.Port()
}

// desktopClient is a page of an origin of its own, for which a browser asks first whether it may send a request. Chromium does it
// for the origin of CORS_ORIGINS; it can have none of those that desktop programs have.
func desktopClient(d *door) (string, error) {
	defer d.leave()
	chromium.Visit(d.tab, d.T, d.desktop)
	got, err := chromium.Evaluate(d.tab, fmt.Sprintf(`
		const ask = () => fetch(%q, {method: 'POST', body: '{}', headers: {Authorization: 'Basic ' + btoa('opencode:' + %q), 'Content-Type': 'application/json'}});
		for (let i = 0; ; i++) try { return (await (await ask()).json()).id } catch (e) { if (i == 9) return e.message }`, d.base.String()+"/session", d.Token))
	if err != nil || !strings.HasPrefix(got, "ses_") {
		return "", fmt.Errorf("a page of %s: %q, %w", d.desktop, got, err)
	}
	for _, from := range []string{"oc://renderer", "tauri://localhost", "http://tauri.localhost", "https://tauri.localhost"} {
		if err := d.crossOrigin(from); err != nil {
			return "", fmt.Errorf("%s: %w", from, err)
		}
	}
	return works, nil
}

// crossOrigin sends a preflight and then the request as the browser of a page of that origin does.
func (d *door) crossOrigin(from string) error {
	ask := func(method, body string, header http.Header) (answer, error) {
		req, err := http.NewRequestWithContext(d.Context(), method, d.base.String()+"/session", strings.NewReader(body))
		if err != nil {
			return answer{}, err
		}
		req.Header = header
		for name, value := range map[string]string{"Origin": from, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"} {
			req.Header.Set(name, value)
		}
		if body != "" {
			req.SetBasicAuth("opencode", d.Token)
		}
		return d.do(req)
	}
	a, err := ask(http.MethodOptions, "", http.Header{
		"Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,content-type"},
	})
	if err != nil || a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != from ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "authorization") || a.header["Access-Control-Allow-Credentials"] != nil {
		return fmt.Errorf("the preflight: %s, %v, %w", a, a.header, err)
	}
	a, err = ask(http.MethodPost, "{}", http.Header{"Content-Type": {"application/json"}})
	if err != nil || a.status != http.StatusOK || a.header.Get("Access-Control-Allow-Origin") != from {
		return fmt.Errorf("the request: %s, %v, %w", a, a.header, err)
	}
	return nil
}
