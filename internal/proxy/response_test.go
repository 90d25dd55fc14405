package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"

	"berth/internal/waittest"
)

// forbidden are response fields that affect the origin, other sessions, or a proxy in front of Berth.
var forbidden = []string{
	"X-Accel-Redirect: /etc/passwd", "x-accel-expires: 99999", "X-Accel-Limit-Rate: 1", "X-Accel-Charset: x",
	"X-Sendfile: /etc/passwd", "X-Sendfile2: /etc/passwd 0-", "X-Sendfile-Temporary: /x", "X-Send-File: /x", "X-LIGHTTPD-send-file: /etc/passwd",
	"X-LIGHTTPD-send-tempfile: /x", "X-LiteSpeed-Location: /etc", "X-Reproxy-URL: http://127.0.0.1/", "X-Reproxy-File: /etc/passwd",
	"X-Envoy-Immediate-Health-Check-Fail: true", "Surrogate-Control: content=\"ESI/1.0\"", "Surrogate-Key: all", "Cache-Tag: all", "Edge-Control: x",
	"Clear-Site-Data: \"*\"", "Strict-Transport-Security: max-age=9; includeSubDomains", "Public-Key-Pins: x", "Public-Key-Pins-Report-Only: x", "Expect-CT: enforce",
	"Alt-Svc: h3=\":443\"", "Alternate-Protocol: 443:quic", "Refresh: 0; url=//evil.example", "Service-Worker-Allowed: /",
	"NEL: {\"report_to\":\"x\"}", "Report-To: {}", "Reporting-Endpoints: x=\"https://evil.example\"", "Accept-CH: Sec-CH-UA-Model", "Critical-CH: x",
	"Origin-Agent-Cluster: ?1", "Set-Login: logged-out", "Use-As-Dictionary: match=\"/*\"", "Activate-Storage-Access: load", "Observe-Browsing-Topics: ?1",
	"Attribution-Reporting-Register-Source: {}", "Sec-Session-Registration: (ES256);path=\"/\"", "Secure-Session-Registration: x", "Set-Cookie2: a=b",
	"Proxy-Authenticate: Basic", "Proxy-Authentication-Info: x", "Proxy-Connection: close", "Proxy-Status: x", "WWW-Authenticate: Basic", "Optional-WWW-Authenticate: Basic",
	"Authentication-Info: nextnonce=x", "Authentication-Control: x", "X-Berth-Operator: yes", "X-Request-ID: theirs",
	"Keep-Alive: timeout=5", "Upgrade: h2c",
	"Fly-Replay: app=other", "fly-cache: x", "X-Middleware-Rewrite: /x", "x-middleware-override-headers: x", "Shared-Storage-Write: clear", "Origin-Trial: x",
	"IdP-SignIn-Status: action=signin", "X-Permitted-Cross-Domain-Policies: all", "Edge-Cache-Tag: x", "Xkey: x", "xkey: y", "X-Cache-Tags: x", "Surrogate-Capability: x", "Surrogate-Other: x",
	"Akamai-Cache-Control: x", "CDN-Cache-Control: max-age=9", "Cloudflare-CDN-Cache-Control: max-age=9", "Vercel-CDN-Cache-Control: max-age=9",
	"X-Rewrite-Url: /x", "Access-Control-Allow-Credentials: true", "X-Original-URL: /x",
}

// harmless fields concern only their own response.
var harmless = map[string]string{
	"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src 'self'", "Link": "</x>; rel=preload", "Server-Timing": "a;dur=1", "Etag": `"x"`,
	"Access-Control-Allow-Origin": "*", "X-Frame-Options": "DENY", "X-Custom": "kept", "X-Accelerate": "kept", "X-Accel-Buffering": "no", "Vary": "Accept",
}

func forbiddenLines() string {
	return strings.Join(append(slices.Clone(forbidden), "Set-Cookie: sid=1; Domain = example.com; Path=/"), "\r\n") + "\r\n"
}

// raw sends a request and returns the bytes of its response as they are on the wire.
func raw(t *testing.T, w *fixture, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, strings.ReplaceAll(request, "{token}", "Authorization: Bearer "+testToken.Reveal()+"\r\nConnection: close\r\n"))
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	return string(got)
}

func TestResponseHeadersForProxiesAreRemoved(t *testing.T) {
	t.Parallel()
	var kept strings.Builder
	for name, value := range harmless {
		fmt.Fprintf(&kept, "%s: %s\r\n", name, value)
	}
	server := newScripted(t, says("HTTP/1.1 200 OK\r\n"+kept.String()+forbiddenLines()+"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"))
	w := server.front(t)
	got := w.get(t, "/")
	want := http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"2"}, "Set-Cookie": {"sid=1; Path=/s/ses-one/"}}
	for name, value := range harmless {
		want[name] = []string{value}
	}
	want.Add("Content-Security-Policy", "sandbox") // by path
	for _, name := range []string{"Date", "X-Request-Id"} {
		if len(got.header[name]) != 1 || got.header.Get(name) == "theirs" {
			t.Errorf("%s: got %q, want one that Berth made", name, got.header[name])
		}
		delete(got.header, name)
	}
	if d := cmp.Diff(want, got.header); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}

	yes := newScripted(t, says("HTTP/1.1 200 OK\r\nX-Accel-Buffering: yes\r\nContent-Length: 0\r\n\r\n")).front(t).get(t, "/")
	if yes.header.Get("X-Accel-Buffering") != "" {
		t.Errorf("a value other than no: got %q", yes.header.Get("X-Accel-Buffering"))
	}
}

func TestInterimResponsesAreFilteredLikeFinalOnes(t *testing.T) {
	t.Parallel()
	server := newScripted(t, says("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\nLink: </style.css>; rel=preload\r\n"+
		forbiddenLines()+"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	w := server.front(t)
	type interim struct {
		status int
		header http.Header
	}
	var seen []interim
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
		h := maps.Clone(http.Header(header))
		delete(h, "X-Request-Id")
		seen = append(seen, interim{status, h})
		return nil
	}})
	got := w.do(t, w.request(t, http.MethodGet, "/", nil).WithContext(ctx))
	want := []interim{{102, http.Header{}}, {103, http.Header{"Link": {"</style.css>; rel=preload"}, "Set-Cookie": {"sid=1; Path=/s/ses-one/"}}}}
	if d := cmp.Diff(want, seen, cmp.AllowUnexported(interim{})); d != "" {
		t.Errorf("interim responses (-want +got):\n%s", d)
	}
	if got.status != 200 || got.header.Get("X-Request-Id") == "" || got.header.Get("Link") != "" || got.header.Get("Set-Cookie") != "" {
		t.Errorf("final response: got %d %v, want 200 with a request id and nothing of the interim ones", got.status, got.header)
	}
	if old := raw(t, w, "GET /s/ses-one/ HTTP/1.0\r\n{token}\r\n"); !strings.HasPrefix(old, "HTTP/1.0 200 OK") {
		t.Errorf("an HTTP/1.0 client: got %q, want no interim response", old)
	}
}

func TestResponseTrailersAreLimitedToAllowedFields(t *testing.T) {
	t.Parallel()
	for name, announced := range map[string]string{
		"announced": "Trailer: Content-Digest, Grpc-Status, X-Accel-Redirect, Set-Cookie, Location\r\n", "in silence": "", "others announced": "Trailer: Grpc-Status, X-Other\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newScripted(t, says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"+announced+"\r\n2\r\nok\r\n0\r\nContent-Digest: d\r\nGrpc-Status: 0\r\n"+
				"Location: /x\r\nContent-Type: text/html\r\nX-Custom: c\r\n"+forbiddenLines()+"\r\n")).front(t)
			res, err := w.client.Do(w.request(t, http.MethodGet, "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for name := range res.Trailer {
				if name != "Content-Digest" && name != "Grpc-Status" {
					t.Errorf("announced to the client: %s", name)
				}
			}
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok" {
				t.Fatalf("got %q, %v", body, err)
			}
			if d := cmp.Diff(http.Header{"Content-Digest": {"d"}, "Grpc-Status": {"0"}}, res.Trailer); d != "" {
				t.Errorf("trailers (-want +got):\n%s", d)
			}
		})
	}
}

func TestResponsesWithoutBodyAnnounceNoForbiddenTrailer(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{"204 No Content": "GET", "304 Not Modified": "GET", "200 OK": "HEAD"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newScripted(t, says("HTTP/1.1 "+name+"\r\nTransfer-Encoding: chunked\r\nTrailer: X-Accel-Redirect, Set-Cookie\r\n\r\n")).front(t)
			got := raw(t, w, request+" /s/ses-one/ HTTP/1.1\r\nHost: x\r\n{token}\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 "+name) || strings.Contains(got, "Trailer") || strings.Contains(got, "X-Accel") {
				t.Errorf("got %q, want %s and no trailer announced", got, name)
			}
		})
	}
}

func TestRequestTrailersArriveOrAreNotAnnounced(t *testing.T) {
	t.Parallel()
	type section struct{ announced, came http.Header }
	got := make(chan section, 1)
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		s := section{announced: maps.Clone(r.Trailer)}
		_, _ = io.Copy(io.Discard, r.Body)
		s.came = r.Trailer
		got <- s
	})
	for name, c := range map[string]struct {
		announced string
		want      section
	}{
		"announced": {"Trailer: Content-Digest, X-Forwarded-For, Authorization, X-Custom\r\n", section{http.Header{"Content-Digest": nil}, http.Header{"Content-Digest": {"d"}}}},
		"none may":  {"Trailer: X-Custom\r\n", section{}},
		"silent":    {"", section{}},
	} {
		answer := raw(t, w, "POST /s/ses-one/ HTTP/1.1\r\nHost: h\r\n{token}Transfer-Encoding: chunked\r\n"+c.announced+
			"\r\n5\r\nhello\r\n0\r\nContent-Digest: d\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: Basic eDp5\r\nX-Custom: c\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 200") {
			t.Fatalf("%s: got %q", name, answer)
		}
		if d := cmp.Diff(c.want, within(t, "request", got), cmp.AllowUnexported(section{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestResponseWithoutATypeGetsNone(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]string{
		"of known length": "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n<script>alert(1)</script>",
		"chunked":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n19\r\n<script>alert(1)</script>\r\n0\r\n\r\n",
		"after a hint":    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n<script>alert(1)</script>",
		"an error":        "HTTP/1.1 404 Not Found\r\nContent-Length: 25\r\n\r\n<script>alert(1)</script>",
	} {
		got := newScripted(t, says(server)).front(t).get(t, "/")
		if kind, ok := got.header["Content-Type"]; ok || got.body != "<script>alert(1)</script>" {
			t.Errorf("%s: got %q of type %q, want no type", name, got.body, kind)
		}
	}
	empty := newScripted(t, says("HTTP/1.1 200 OK\r\nContent-Type:\r\nContent-Length: 3\r\n\r\n<a>")).front(t).get(t, "/")
	if kind := empty.header.Get("Content-Type"); kind != "" {
		t.Errorf("an empty type: got %q", kind)
	}
}

func TestCookiesStayWithTheSession(t *testing.T) {
	t.Parallel()
	for cookie, want := range map[string]string{
		"a=b": "a=b",
		"a=b; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=5; Partitioned": "a=b; Path=/s/ses-one/; HttpOnly; Secure; SameSite=Lax; Max-Age=5; Partitioned",
		"a=b; Domain=example.com":                         "a=b",
		"a=b; Domain = example.com":                       "a=b",
		"a=b;\tdOmAiN\t=\t.example.com ;Path=/x":          "a=b; Path=/s/ses-one/x",
		"a=b; Domain=a; domain=b; Domain":                 "a=b",
		"a=b; Path = /x":                                  "a=b; Path=/s/ses-one/x",
		"a=b; Path=/x; Path=/":                            "a=b; Path=/s/ses-one/x; Path=/s/ses-one/",
		"a=b; Path=relative":                              "a=b; Path=relative",
		"a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; X=y": "a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
		"berth_session=x":                                 "",
		"__Host-Berth_login=x":                            "",
		"=berth_session=x":                                "",
		" = berth_session=x":                              "",
		"berth_session":                                   "",
		"nameless":                                        "",
		"":                                                "",
	} {
		w := setup(t, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Set-Cookie"] = []string{cookie} })
		if got := w.get(t, "/").header.Get("Set-Cookie"); got != want {
			t.Errorf("%q: got %q, want %q", cookie, got, want)
		}
	}
}

func TestFieldsNamedByConnectionAreRemoved(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]string{
		"kept open":      "Connection: X-Hop\r\nX-Hop: 1\r\n",
		"closed":         "Connection: close, X-Hop\r\nX-Hop: 1\r\n",
		"closed at last": "X-Hop: 1\r\nConnection: x-hop , CLOSE\r\n",
		"two fields":     "Connection: close\r\nX-Hop: 1\r\nconnection: X-Hop\r\n",
		"folded":         "Connection: close,\r\n X-Hop\r\nX-Hop: 1\r\n",
		"line feeds":     "Connection: close, X-Hop\nX-Hop: 1\n",
	} {
		for _, hint := range []string{"", "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Kept\r\n\r\n"} {
			got := newScripted(t, says(hint+"HTTP/1.1 200 OK\r\n"+header+"X-Kept: 1\r\nContent-Length: 2\r\n\r\nok")).front(t).get(t, "/")
			if got.status != 200 || got.header.Get("X-Hop") != "" || got.header.Get("X-Kept") != "1" || got.body != "ok" {
				t.Errorf("%s, after %q: got %d %v, want no X-Hop", name, hint, got.status, got.header)
			}
		}
	}
}

func TestConnectAndTraceAreRefusedBeforeAnythingIsForwarded(t *testing.T) {
	t.Parallel()
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the server got %s", r.Method) })
	for _, request := range []string{
		"TRACE /s/ses-one/ HTTP/1.1\r\nHost: h\r\n{token}\r\n",
		"trace /s/ses-one/ HTTP/1.1\r\nHost: h\r\n{token}\r\n",
		"Trace /s/ses-one/ HTTP/1.1\r\nHost: h\r\n{token}\r\n",
		"TRACE /s/ses-one/ HTTP/1.0\r\n{token}\r\n",
		"CONNECT /s/ses-one/ HTTP/1.1\r\nHost: h\r\n{token}\r\n",
		"TRACE http://h/s/ses-one/x HTTP/1.1\r\nHost: h\r\n{token}\r\n",
		"TRACE /s/ses-one/ HTTP/1.1\r\nHost: h\r\n{token}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		"TRACE /s/ses-one/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"TRACE /s/ses-none/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
	} {
		got := raw(t, w, request)
		if !strings.Contains(got, " 405 ") || !strings.Contains(got, "Allow: ") || !strings.Contains(got, `"method_not_allowed"`) || strings.Contains(got, "Basic ") {
			t.Errorf("%q: got %q, want 405", request, got)
		}
	}
	if got := raw(t, w, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n{token}\r\n"); strings.HasPrefix(got, "HTTP/1.1 2") {
		t.Errorf("CONNECT to a host: got %q", got)
	}
}

func TestWebSocketHalfCloseReachesServer(t *testing.T) {
	t.Parallel()
	const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: WebSocket\r\nClear-Site-Data: *\r\n\r\n"
	w := newScripted(t, func(conn net.Conn, r *bufio.Reader, _ *http.Request) {
		_, _ = io.WriteString(conn, switching)
		received, err := io.ReadAll(r) // returns only when the client closes its half
		fmt.Fprintf(conn, "received %q, %v; and now the rest: %s", received, err, strings.Repeat("x", 1<<20))
	}).front(t)
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /s/ses-one/pty HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", testToken.Reveal())
	r := bufio.NewReader(conn)
	header := readHeader(t, r)
	if !strings.HasPrefix(header, "HTTP/1.1 101 ") || strings.Contains(header, "X-Hop") || strings.Contains(header, "Clear-Site") || !strings.Contains(header, "Connection: Upgrade\r\n") {
		t.Fatalf("got %q", header)
	}
	_, _ = io.WriteString(conn, "final bytes")
	_ = conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(r)
	const want = `received "final bytes", <nil>; and now the rest: `
	if err != nil || !strings.HasPrefix(string(got), want) || len(got) != len(want)+1<<20 {
		t.Errorf("got %d bytes, %.80q, %v; want %q and a million more", len(got), got, err, want)
	}
	waittest.True(t, "nothing in flight", func() bool { return w.proxy.InFlight() == 0 && w.proxy.Load().Connections == 0 })
}

func readHeader(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("got %q, %v", b.String()+line, err)
		}
		b.WriteString(line)
	}
	return b.String()
}

// A WebSocket whose server has closed its half waits for the client; the rotation of its token ends it nevertheless.
func TestHalfClosedWebSocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	w := newScripted(t, func(conn net.Conn, r *bufio.Reader, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, r)
	}).front(t)
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /s/ses-one/pty HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", testToken.Reveal())
	r := bufio.NewReader(conn)
	readHeader(t, r)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Fatalf("got %v, want the end of the server's half", err)
	}
	if got := w.proxy.InFlight(); got != 1 {
		t.Fatalf("in flight: got %d, want 1: the client may still send", got)
	}
	w.table.Remove(testID)
	waittest.True(t, "nothing in flight", func() bool { return w.proxy.InFlight() == 0 && w.proxy.Load().Connections == 0 })
}

func TestUnansweredConnectIs504(t *testing.T) {
	t.Parallel()
	w := setup(t, http.NotFound, func(o *Options) {
		o.Transport.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: timeoutError{}} // the kernel's own, ETIMEDOUT
		}
	})
	got := w.get(t, "/")
	got.mustBe(t, 504, session.CodeUpstreamTimeout, "no answer to the connection attempt")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "connection timed out" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
