package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/access"
	"berth/internal/server"
	"berth/internal/session"
	"berth/internal/tlstest"
	"berth/internal/waittest"
)

// overHTTP2 returns the fixture with Berth's own server in front and a client that uses one connection to it.
func overHTTP2(t *testing.T, w *fixture) *fixture {
	t.Helper()
	a := tlstest.New(t)
	listener, err := server.Listen(t.Context(), "127.0.0.1:0", "BERTH_LISTEN")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{
		Listener: listener, TLS: a.Server(t, []string{"berth.example"}, "h2", "http/1.1"), Handler: w.proxy.Before(http.NotFoundHandler()), Logger: discardLogger(),
		Client: func(r *http.Request) *access.Client {
			return access.Proxies(nil).Client(r.RemoteAddr, true, nil, nil, false)
		},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	transport := &http.Transport{TLSClientConfig: a.Client("berth.example"), ForceAttemptHTTP2: true, DisableCompression: true}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		_ = s.Shutdown(ctx) // closes connections at once
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	h := *w
	h.front = &httptest.Server{URL: "https://" + s.Addr().String()}
	h.client = &http.Client{Transport: transport, CheckRedirect: w.client.CheckRedirect}
	return &h
}

// reused makes requests report that the connection of an earlier one was used for them.
func reused(r *http.Request, to *[]bool) *http.Request {
	return r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { *to = append(*to, info.Reused) },
	}))
}

func TestRequestOverHTTP2ReachesTheServerAsHTTP1(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	w := overHTTP2(t, setup(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=1; includeSubDomains")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		_, _ = io.Copy(w, r.Body)
		seen <- r
	}))
	r := w.request(t, http.MethodPost, "/a%2Fb?x=1&auth_token=secret", strings.NewReader("text"))
	r.Host = "berth.example:8443"
	r.Header["Cookie"] = []string{"a=1; __Host-berth_x=secret", "b=2"}
	r.Header.Set("Te", "trailers")
	res, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.Proto != "HTTP/2.0" || string(body) != "text" {
		t.Errorf("got %s %s %q, %v", res.Proto, res.Status, body, err)
	}
	for _, name := range []string{"Strict-Transport-Security", "Connection", "X-Hop"} {
		if got := res.Header.Values(name); len(got) > 0 {
			t.Errorf("%s: got %q from the session's server, want none", name, got)
		}
	}
	up := <-seen
	got := []string{up.Proto, up.Host, up.RequestURI, strings.Join(up.Header["Cookie"], "|"), up.Header.Get("X-Forwarded-Proto"), up.Header.Get("X-Forwarded-Host")}
	want := []string{"HTTP/1.1", "berth.example:8443", "/a%2Fb?x=1", "a=1; b=2", "https", "berth.example:8443"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("at the server (-want +got):\n%s", diff)
	}
	if user, secret, ok := up.BasicAuth(); !ok || user != testUser || secret != testGrant.Reveal() {
		t.Errorf("credential at the server: got %q, %q", user, secret)
	}
}

func TestEventsOverHTTP2EndWithTheirClient(t *testing.T) {
	t.Parallel()
	texts, left := make(chan string), make(chan struct{}, 1)
	w := overHTTP2(t, setup(t, eventStream(texts, left)))
	ctx, cancel := context.WithCancel(t.Context())
	res, err := w.client.Do(w.request(t, http.MethodGet, "/event", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	events := bufio.NewReader(res.Body)
	for i := range 3 {
		texts <- fmt.Sprint(i)
		if got, err := events.ReadString('\n'); err != nil || got != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: got %q, %v", i, got, err)
		}
		_, _ = events.ReadString('\n')
	}
	cancel() // RST_STREAM
	within(t, "the server notices that the client has left", left)
	if got := w.get(t, "/x"); got.status != 200 {
		t.Errorf("another request on the connection: got %d", got.status)
	}
}

// A turn of an agent sends nothing for minutes; its client may leave meanwhile.
func TestCanceledRequestOverHTTP2IsCanceledAtTheServer(t *testing.T) {
	t.Parallel()
	began, left := make(chan struct{}, 1), make(chan struct{}, 1)
	w := overHTTP2(t, setup(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		began <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	r := w.request(t, http.MethodPost, "/turn", strings.NewReader("text")).WithContext(ctx)
	go func() {
		_, err := w.client.Do(r)
		ended <- err
	}()
	within(t, "request at the server", began)
	cancel()
	within(t, "cancellation at the server", left)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	waittest.True(t, "nothing is in flight", func() bool { return w.proxy.InFlight() == 0 })
}

func TestTrailersAndInterimResponsesPassOverHTTP2(t *testing.T) {
	t.Parallel()
	sent := make(chan http.Header, 1)
	w := overHTTP2(t, setup(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "Server-Timing")
		_, _ = io.Copy(w, r.Body)
		sent <- r.Trailer
		w.Header().Set("Server-Timing", "total;dur=1")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a=1")
	}))
	body, more := io.Pipe()
	r := w.request(t, http.MethodPost, "/x", body)
	r.Header.Set("Te", "trailers")
	r.Trailer = http.Header{"Content-Digest": nil, "X-Other": nil}
	interim := make(chan string, 9)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
			interim <- fmt.Sprint(status, header.Get("Link"), header.Get("Strict-Transport-Security"))
			return nil
		},
	}))
	go func() {
		_, _ = io.WriteString(more, "text")
		r.Trailer["Content-Digest"], r.Trailer["X-Other"] = []string{"sha-256=:x:"}, []string{"y"}
		_ = more.Close()
	}()
	res, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "text" {
		t.Errorf("got %q, %v", text, err)
	}
	if diff := cmp.Diff(http.Header{"Server-Timing": {"total;dur=1"}}, res.Trailer); diff != "" {
		t.Errorf("trailer at the client (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"Content-Digest": {"sha-256=:x:"}}, <-sent); diff != "" {
		t.Errorf("trailer at the server (-want +got):\n%s", diff)
	}
	if got := <-interim; got != "103</a>; rel=preload" {
		t.Errorf("interim response: got %q", got)
	}
}

func TestContinueOverHTTP2IsAnsweredByBerth(t *testing.T) {
	t.Parallel()
	w := overHTTP2(t, setup(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header["Expect"])
		_, _ = io.Copy(w, r.Body)
	}))
	w.client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	r := w.request(t, http.MethodPost, "/x", strings.NewReader("text"))
	r.Header.Set("Expect", "100-continue")
	if got := w.do(t, r); got.status != 200 || got.body != "[]text" {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

func TestLargeBodiesPassOverHTTP2(t *testing.T) {
	t.Parallel()
	const size = 24 << 20
	content := make([]byte, size)
	_, _ = rand.Read(content)
	w := overHTTP2(t, setup(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		_, err := io.Copy(sum, r.Body)
		w.Header().Set("X-Sum", fmt.Sprintf("%x %v", sum.Sum(nil), err))
		_, _ = w.Write(content)
	}, func(o *Options) { o.MaxBody = 32 << 20 }))
	for _, known := range []bool{true, false} {
		var body io.Reader = bytes.NewReader(content)
		if !known {
			body = io.MultiReader(body)
		}
		got := w.do(t, w.request(t, http.MethodPost, "/x", body))
		if want := fmt.Sprintf("%x <nil>", sha256.Sum256(content)); got.header.Get("X-Sum") != want {
			t.Errorf("length known %v: at the server: got %s, want %s", known, got.header.Get("X-Sum"), want)
		}
		if got.body != string(content) {
			t.Errorf("length known %v: at the client: got %d other bytes", known, len(got.body))
		}
	}
}

// Over HTTP/1.1 such an answer ends the connection; here it would end the other streams' too.
func TestUnreadBodyOverHTTP2KeepsTheConnection(t *testing.T) {
	t.Parallel()
	w := overHTTP2(t, setup(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			http.Error(w, "too much", http.StatusConflict)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}, func(o *Options) { o.MaxBody = 1 << 20 }))
	var conns []bool
	endless := func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 4<<20))) }
	if got := w.do(t, reused(w.request(t, http.MethodGet, "/", nil), &conns)); got.status != 200 {
		t.Fatalf("got %d", got.status)
	}
	for path, want := range map[string]int{"/early": http.StatusConflict, "/large": http.StatusRequestEntityTooLarge} {
		res, err := w.client.Do(reused(w.request(t, http.MethodPost, path, endless()), &conns))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want && res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %s, want %d", path, res.Status, want)
		}
	}
	if got := w.do(t, reused(w.request(t, http.MethodGet, "/", nil), &conns)); got.status != 200 {
		t.Errorf("afterwards: got %d", got.status)
	}
	if want := []bool{false, true, true, true}; !slices.Equal(conns, want) {
		t.Errorf("requests on the same connection: got %v, want %v", conns, want)
	}
}

// Neither a stalled upload nor a stalled download holds the other streams of the connection up.
func TestStalledStreamsOverHTTP2DoNotDelayOthers(t *testing.T) {
	t.Parallel()
	left := make(chan struct{}, 1)
	w := overHTTP2(t, setup(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/download":
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 64<<10))
			}
			left <- struct{}{}
		case "/upload":
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	download, err := w.client.Do(w.request(t, http.MethodGet, "/download", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer download.Body.Close()
	body, more := io.Pipe()
	upload := w.request(t, http.MethodPost, "/upload", body)
	uploaded := make(chan int, 1)
	go func() {
		res, err := w.client.Do(upload)
		if err != nil {
			uploaded <- 0
			return
		}
		_ = res.Body.Close()
		uploaded <- res.StatusCode
	}()
	_, _ = io.WriteString(more, "a part")
	for range 50 {
		if got := w.get(t, "/x"); got.status != 200 {
			t.Fatalf("beside stalled streams: got %d", got.status)
		}
	}
	cancel()
	within(t, "the download ends at the server", left)
	_ = more.Close()
	if got := <-uploaded; got != 200 {
		t.Errorf("the upload: got %d", got)
	}
}

// A rotation ends the streams of the old token, and nothing else on the connection.
func TestRotationOverHTTP2EndsOnlyTheTokensStreams(t *testing.T) {
	t.Parallel()
	texts, left := make(chan string, 1), make(chan struct{}, 1)
	w := overHTTP2(t, setup(t, eventStream(texts, left)))
	events := openStream(t, w, texts)
	route := w.route()
	route.Token = session.Token{Digest: w.keys.Digest("another token of the session")}
	w.table.Set(route)
	within(t, "the server notices", left)
	if text, err := io.ReadAll(events); err == nil {
		t.Errorf("the stream ended with %q as if it were complete", text)
	}
	var conns []bool
	if got := w.do(t, reused(w.request(t, http.MethodGet, "/x", nil), &conns)); got.status != http.StatusUnauthorized || !slices.Equal(conns, []bool{true}) {
		t.Errorf("the old token: got %d on the same connection %v", got.status, conns)
	}
	r := w.request(t, http.MethodGet, "/x", nil)
	r.Header.Set("Authorization", "Bearer another token of the session")
	if got := w.do(t, r); got.status != 200 {
		t.Errorf("the new token: got %d", got.status)
	}
}

func TestDrainOverHTTP2EndsStreams(t *testing.T) {
	t.Parallel()
	texts, left := make(chan string, 1), make(chan struct{}, 1)
	w := overHTTP2(t, setup(t, eventStream(texts, left)))
	events := openStream(t, w, texts)
	if err := w.proxy.Drain(t.Context(), nil); err != nil {
		t.Error(err)
	}
	within(t, "the server notices", left)
	if _, err := io.ReadAll(events); err == nil {
		t.Error("the stream ended as if it were complete")
	}
	if got := w.get(t, "/x"); got.status != http.StatusServiceUnavailable {
		t.Errorf("afterwards: got %d", got.status)
	}
}

// Connections over HTTP/2 carry no other protocols: browsers open another one for WebSockets.
func TestTunnelOverHTTP2IsRefused(t *testing.T) {
	t.Parallel()
	w := overHTTP2(t, setup(t, func(http.ResponseWriter, *http.Request) { t.Error("a request reached the server") }))
	r := w.request(t, http.MethodConnect, "/x", nil)
	if got := w.do(t, r); got.status != http.StatusMethodNotAllowed && got.status != http.StatusNotFound && got.status != http.StatusBadRequest {
		t.Errorf("CONNECT: got %d", got.status)
	}
}
