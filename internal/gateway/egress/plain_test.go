package egress

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// echoWeb is a server outside that answers with what it has received.
func (f *fixture) echoWeb(t *testing.T) {
	t.Helper()
	f.web(t, "203.0.113.1:80", nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trace", fmt.Sprintf("host=%s uri=%s body=%s", r.Host, r.RequestURI, body))
		for name := range r.Header {
			w.Header().Add("Seen", name)
		}
	})
}

// talk sends text to a server and returns the responses until it closes.
func talk(t *testing.T, address, text string) []*http.Response {
	t.Helper()
	conn := dial(t, address)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	var all []*http.Response
	for {
		res, err := http.ReadResponse(from, nil)
		if err != nil {
			return all
		}
		body, _ := io.ReadAll(res.Body)
		res.Body = io.NopCloser(strings.NewReader(string(body)))
		all = append(all, res)
	}
}

func TestEachPlainRequestIsJudged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("allowed.example", "203.0.113.1")
	f.echoWeb(t)
	address := run(t, f.ServePlain)
	all := talk(t, address, "GET /a?x=1;y=%2F HTTP/1.1\r\nHost: Allowed.example\r\nProxy-Authorization: Basic c2VjcmV0\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"+
		"POST /b HTTP/1.1\r\nHost: allowed.example:80\r\nContent-Length: 5\r\n\r\nhello"+
		"GET /c HTTP/1.1\r\nHost: evil.example\r\n\r\n"+
		"GET /d HTTP/1.1\r\nHost: allowed.example\r\n\r\n")
	if len(all) != 3 {
		t.Fatalf("got %d responses, want three: the connection ends after a refusal", len(all))
	}
	if got := all[0].Header.Get("Trace"); got != "host=allowed.example uri=/a?x=1;y=%2F body=" {
		t.Errorf("first: got %q", got)
	}
	for _, name := range all[0].Header.Values("Seen") {
		if name == "Proxy-Authorization" || name == "X-Hop" {
			t.Errorf("%s was passed on", name)
		}
	}
	if got := all[1].Header.Get("Trace"); got != "host=allowed.example uri=/b body=hello" {
		t.Errorf("second: got %q", got)
	}
	if body, _ := io.ReadAll(all[2].Body); all[2].StatusCode != 403 || !strings.Contains(string(body), "evil.example:80 is not on this session's list") {
		t.Errorf("third: got %d %q", all[2].StatusCode, body)
	}
	if lookedUp, _ := f.out.left(); len(lookedUp) != 2 {
		t.Errorf("looked up %q, want the name once for each request", lookedUp)
	}
}

func TestPlainRequestThatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("allowed.example", "203.0.113.1")
	f.echoWeb(t)
	address := run(t, f.ServePlain)
	for what, text := range map[string]string{
		"both lengths":           "POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":            "POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"another coding":         "POST / HTTP/1.1\r\nHost: allowed.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"a signed length":        "POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: +3\r\n\r\nabc",
		"two hosts":              "GET / HTTP/1.1\r\nHost: allowed.example\r\nHost: evil.example\r\n\r\n",
		"no host":                "GET / HTTP/1.1\r\n\r\n",
		"a URL of another host":  "GET http://evil.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
		"the reverse":            "GET http://allowed.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"https":                  "GET https://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
		"CONNECT":                "CONNECT allowed.example:80 HTTP/1.1\r\nHost: allowed.example:80\r\n\r\n",
		"another port":           "GET / HTTP/1.1\r\nHost: odd.example:8443\r\n\r\n",
		"bare line feeds":        "GET / HTTP/1.1\nHost: allowed.example\n\n",
		"a folded line":          "GET / HTTP/1.1\r\nHost: allowed.example\r\nX: a\r\n b\r\n\r\n",
		"a blank before a colon": "GET / HTTP/1.1\r\nHost : allowed.example\r\n\r\n",
		"a dot at the end":       "GET / HTTP/1.1\r\nHost: allowed.example.\r\n\r\n",
		"brackets":               "GET / HTTP/1.1\r\nHost: [[allowed.example]]\r\n\r\n",
		"an address":             "GET / HTTP/1.1\r\nHost: 203.0.113.1\r\n\r\n",
		"a decimal address":      "GET / HTTP/1.1\r\nHost: 2130706433\r\n\r\n",
		"a user":                 "GET / HTTP/1.1\r\nHost: user@allowed.example\r\n\r\n",
		"HTTP/2 without TLS":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"a header of a megabyte": "GET / HTTP/1.1\r\nHost: allowed.example\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"a NUL":                  "GET / HTTP/1.1\r\nHost: allowed.example\r\nX: a\x00b\r\n\r\n",
	} {
		all := talk(t, address, text)
		if len(all) > 1 || len(all) == 1 && all[0].StatusCode < 400 {
			t.Errorf("%s: got %d responses, the first %d", what, len(all), all[0].StatusCode)
		}
	}
	f.nothingLeft(t, "refused requests")
}

// TestNothingFollowsAnUnboundedBody: what follows a chunked body, or a request to upgrade that was declined, is not looked over.
func TestNothingFollowsAnUnboundedBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("allowed.example", "203.0.113.1")
	f.echoWeb(t)
	address := run(t, f.ServePlain)
	const smuggled = "POST /smuggled HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"
	for what, text := range map[string]string{
		"chunked": "POST / HTTP/1.1\r\nHost: allowed.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"upgrade": "GET / HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"h2c":     "GET / HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	} {
		all := talk(t, address, text+smuggled)
		if len(all) != 1 || all[0].StatusCode != 200 {
			t.Fatalf("%s: got %d responses, want one: %+v", what, len(all), all[0])
		}
		if what == "chunked" && !strings.HasSuffix(all[0].Header.Get("Trace"), "body=hello") {
			t.Errorf("chunked: got %q", all[0].Header.Get("Trace"))
		}
	}
}

func TestForwardOfAbsoluteURLs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("allowed.example", "203.0.113.1")
	f.echoWeb(t)
	proxy := f.proxy(t)
	all := talk(t, proxy, "GET http://allowed.example/x HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: Basic c2VjcmV0\r\nConnection: close\r\n\r\n")
	if len(all) != 1 || all[0].Header.Get("Trace") != "host=allowed.example uri=/x body=" {
		t.Fatalf("got %v", all)
	}
	for _, name := range all[0].Header.Values("Seen") {
		if name == "Proxy-Authorization" {
			t.Error("the gateway's credential was passed on")
		}
	}
	for url, status := range map[string]int{
		"http://evil.example/": 403, "https://allowed.example/": 400, "http://user:pass@allowed.example/": 400, "ftp://allowed.example/": 400, "http://allowed.example:22/": 403,
		"http://169.254.169.254/latest/meta-data/": 403,
	} {
		all := talk(t, proxy, "GET "+url+" HTTP/1.1\r\nHost: allowed.example\r\nConnection: close\r\n\r\n")
		if len(all) != 1 || all[0].StatusCode != status {
			t.Errorf("%s: got %v, want %d", url, all, status)
		}
	}
}

func TestPlainConnectIsJudgedByItsRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("allowed.example", "203.0.113.1")
	f.echoWeb(t)
	proxy := f.proxy(t)
	for host, want := range map[string]int{"allowed.example": 200, "a.wild.example": 400} {
		_, from, conn := connect(t, proxy, "allowed.example:80", "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(from, nil)
		if err != nil || res.StatusCode != want {
			t.Errorf("%s: got %v, %v, want %d", host, res, err, want)
		}
		_ = conn.Close()
	}
}

func TestEventStreamsAndWebSocketsPass(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.out.name("allowed.example", "203.0.113.1")
	next := make(chan struct{})
	f.web(t, "203.0.113.1:80", nil, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
			if err != nil {
				return
			}
			kind, text, err := c.Read(r.Context())
			if err == nil {
				_ = c.Write(r.Context(), kind, text)
			}
			_ = c.Close(websocket.StatusNormalClosure, "")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = io.WriteString(w, "data: 2\n\n")
	})
	address := run(t, f.ServePlain)
	conn := dial(t, address)
	_, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: allowed.example\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("data: 1\n\n"))
	if _, err := io.ReadFull(res.Body, first); err != nil {
		t.Fatalf("the first event was held back: %v", err)
	}
	close(next)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "data: 2\n\n" {
		t.Errorf("got %q, %v", rest, err)
	}
	ws, _, err := websocket.Dial(t.Context(), "ws://"+address+"/ws", &websocket.DialOptions{Host: "allowed.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := ws.Read(t.Context()); err != nil || string(got) != "hello" {
		t.Errorf("WebSocket: got %q, %v", got, err)
	}
}
