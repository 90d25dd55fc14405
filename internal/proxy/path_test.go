package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"berth/internal/session"
)

// raw sends a request line unchanged and returns the response.
func (w *fixture) raw(t *testing.T, method, target string) answer {
	t.Helper()
	return rawTo(t, w.front, "h", method, target)
}

// rawTo is raw for another server and host name.
func rawTo(t *testing.T, to *httptest.Server, host, method, target string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", to.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		method, target, host, testToken.Reveal())
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func TestPathsAreForwardedUnchanged(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	for rest, want := range map[string]string{
		"/":                               "/",
		"/a/b":                            "/a/b",
		"//":                              "//",
		"//a//b":                          "//a//b",
		"/a/":                             "/a/",
		"/..":                             "/..",
		"/../ses-two/x":                   "/../ses-two/x",
		"/../../sessions":                 "/../../sessions",
		"/./a/./":                         "/./a/./",
		"/%2e%2e/ses-two/x":               "/%2e%2e/ses-two/x",
		"/..%2f..%2fsessions":             "/..%2f..%2fsessions",
		"/%2E%2E%2Fa":                     "/%2E%2E%2Fa",
		"/a%2Fb":                          "/a%2Fb",
		"/a%2fb|c":                        "/a%2fb%7Cc",
		"/%252e%252e/":                    "/%252e%252e/",
		"/a%20b+c":                        "/a%20b+c",
		"/%00":                            "/%00",
		"/%0d%0aX:y":                      "/%0d%0aX:y",
		`/a\b`:                            "/a%5Cb",
		"/a%5cb":                          "/a%5cb",
		"/a;b=c,d:e@f!$&'()*[]":           "/a;b=c,d:e@f!$&'()*[]",
		"/\xc3\xa6":                       "/%C3%A6",
		"/%C3%A6":                         "/%C3%A6",
		`/"<>^{}` + "`":                   "/%22%3C%3E%5E%7B%7D%60",
		"/?":                              "/?",
		"/?a=b?c&d=%2F":                   "/?a=b?c&d=%2F",
		"/x?z=1&a=2&z=0":                  "/x?z=1&a=2&z=0",
		"/#f":                             "/%23f",
		"/http://evil.example/":           "/http://evil.example/",
		"/*":                              "/*",
		"/s/ses-two/":                     "/s/ses-two/",
		"/x?" + strings.Repeat("a&", 300): "/x?" + strings.Repeat("a&", 300),
	} {
		got := w.raw(t, "GET", "/s/"+string(testID)+rest)
		if got.status != 200 || got.body != want {
			t.Errorf("%q: got %d %q, want %q", rest, got.status, got.body, want)
		}
	}
}

func TestPathsWithoutSessionAre404(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") })
	for _, target := range []string{
		"/s/", "/s//", "/s//" + string(testID) + "/", "/s/../s/" + string(testID) + "/",
		"/s/%73es-one/", "/s/ses%2Done/", "/s/ses-one%2fx", "/s/ses-one%2F..%2Fx/", "/s/SES-ONE/", "/s/-x/", "/s/./", "/s/../",
		"/s/ses-one;x/", "/s/" + strings.Repeat("a", 64) + "/",
	} {
		if got := w.raw(t, "GET", target).status; got != 404 {
			t.Errorf("%s: got %d, want 404", target, got)
		}
	}
	for _, target := range []string{"/", "/s", "/S/ses-one/", "/%73/ses-one/", "//s/ses-one/", "/x/../s/ses-one/"} {
		got := w.raw(t, "GET", target)
		if got.header.Get("X-Request-Id") != "" || got.status != 404 {
			t.Errorf("%s went to the proxy: %d", target, got.status)
		}
	}
}

func TestSessionWithoutSlashRedirects(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") })
	for target, want := range map[string]string{
		"/s/ses-one":                     "/s/ses-one/",
		"/s/ses-unknown":                 "/s/ses-unknown/",
		"/s/ses-one?a=1&auth_token=x&b=": "/s/ses-one/?a=1&b=",
	} {
		got := w.raw(t, "POST", target)
		if location := got.header.Get("Location"); got.status != 308 || location != want {
			t.Errorf("%s: got %d to %q, want 308 to %q", target, got.status, location, want)
		}
	}
}

func TestBlockedCalls(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) {})
	route := w.route()
	route.Profile = &session.Profile{Blocked: []string{"POST /global/upgrade", "DELETE /project/*/lock", "/never"}}
	w.table.Set(route)
	for call, want := range map[string]int{
		"POST /global/upgrade":              403,
		"POST /global/upgrade?x=1":          403,
		"POST //global///upgrade/":          403,
		"POST /./global/x/../upgrade":       403,
		"POST /global/%75pgrade":            403,
		"POST /global%2Fupgrade":            403,
		"POST /%67lobal/%2e/upgrade":        403,
		`POST /global\upgrade`:              403,
		"POST /global%5Cupgrade":            403,
		"POST /GLOBAL/Upgrade":              403,
		"POST /global/upgrade;a=/b":         403,
		"POST /x/..;/../global/upgrade":     403,
		"POST /../global/upgrade":           403,
		"POST /a%2Fb/%2e%2E/global/upgrade": 403,
		"GET /global/upgrade":               200,
		"POST /global/upgrade/now":          200,
		"POST /global":                      200,
		"POST /global/upgraded":             200,
		"POST /session":                     200,
		"DELETE /project/abc/lock":          403,
		"DELETE /project/a/b/lock":          200,
		"PUT /never":                        403,
		"GET /never":                        403,
		"POST /file?path=global/upgrade":    200,
	} {
		method, target, _ := strings.Cut(call, " ")
		if got := w.raw(t, method, "/s/"+string(testID)+target).status; got != want {
			t.Errorf("%s: got %d, want %d", call, got, want)
		}
	}
}
