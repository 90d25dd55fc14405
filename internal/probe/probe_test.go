package probe_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"berth/internal/probe"
	"berth/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "only-the-server-and-berth-know"

func profile() *session.Profile {
	return &session.Profile{
		Username: "opencode", Ready: session.Probe{Path: "/global/health", Member: "healthy", Then: "/path"},
	}
}

func target(address string) session.Target {
	return session.Target{Address: strings.TrimPrefix(address, "http://"), Credential: password, Profile: profile()}
}

// answer is a fixed response.
type answer struct {
	status int
	kind   string
	body   string
}

// serve serves fixed responses by path, and HTML for any other path, like OpenCode.
func serve(t *testing.T, answers map[string]answer) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "opencode" || pass != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		a, ok := answers[r.URL.Path]
		if !ok {
			a = answer{200, "text/html", "<!doctype html>"}
		}
		if a.status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.Header().Set("Content-Type", a.kind)
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const jsonType = "application/json"

func TestProbeOutcomes(t *testing.T) {
	t.Parallel()
	health := answer{200, jsonType, `{"healthy":true,"version":"1.18.33"}`}
	path := answer{200, jsonType + "; charset=utf-8", `{"directory":"/workspace"}`}
	long := `[` + strings.Repeat(`{"id":"ses_1"},`, 20_000) + `{}]`
	cases := map[string]struct {
		health, path answer
		saw          string // part of the error; empty: healthy
	}{
		"both responses are correct":    {health, path, ""},
		"the second response is a list": {health, answer{200, jsonType, `[]`}, ""},
		"the second response is long":   {health, answer{200, jsonType, long}, ""},
		"not healthy":                   {answer{200, jsonType, `{"healthy":false}`}, path, `"healthy"`},
		"healthy is not a boolean":      {answer{200, jsonType, `{"healthy":"true"}`}, path, `"healthy"`},
		"no such member":                {answer{200, jsonType, `{"status":"ok"}`}, path, "without a member"},
		"an array":                      {answer{200, jsonType, `[true]`}, path, "not a JSON object"},
		"null":                          {answer{200, jsonType, `null`}, path, "not a JSON object"},
		"no JSON in spite of the type":  {answer{200, jsonType, `<html>`}, path, "not a JSON object"},
		"an HTML page":                  {answer{200, "text/html", `{"healthy":true}`}, path, "text/html"},
		"no type":                       {answer{200, "", `{"healthy":true}`}, path, "instead of JSON"},
		"a redirect":                    {answer{302, jsonType, `{"healthy":true}`}, path, "302"},
		"starting":                      {answer{503, jsonType, `{"healthy":true}`}, path, "503"},
		"an endless health document":    {answer{200, jsonType, `{"healthy":true,"x":"` + strings.Repeat("x", 1<<20) + `"}`}, path, "at most"},
		"the second path fails":         {health, answer{500, jsonType, `{}`}, "probe /path: answered 500"},
		"the second response is HTML":   {health, answer{200, "text/html", ``}, "text/html"},
		"the second response is empty":  {health, answer{200, jsonType, ``}, "not JSON"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, map[string]answer{"/global/health": c.health, "/path": c.path})
			err := probe.New().Probe(t.Context(), target(url))
			switch {
			case c.saw == "" && err != nil:
				t.Errorf("got %v, want nil: this server works", err)
			case c.saw != "" && err == nil:
				t.Errorf("got nil, want an error with %q: this server is not ready", c.saw)
			case c.saw != "" && !strings.Contains(err.Error(), c.saw):
				t.Errorf("got %q, want %q in it", err, c.saw)
			}
		})
	}
}

func TestProfileDefinesReadyStatus(t *testing.T) {
	t.Parallel()
	for status, ready := range map[int]bool{204: true, 200: false, 503: false} {
		to := target(serve(t, map[string]answer{"/global/health": {status, "", ""}, "/path": {200, jsonType, "{}"}}))
		to.Profile.Ready.Status, to.Profile.Ready.Member = 204, ""
		if err := probe.New().Probe(t.Context(), to); (err == nil) != ready {
			t.Errorf("a server that answers %d instead of 204: %v", status, err)
		}
	}
	to := target(serve(t, map[string]answer{"/global/health": {204, "", ""}}))
	to.Profile.Ready.Status, to.Profile.Ready.Member = 204, ""
	if err := probe.New().Probe(t.Context(), to); !errors.Is(err, session.ErrUnresponsive) {
		t.Errorf("second path fails: got %v, want session.ErrUnresponsive", err)
	}
}

func TestProbeSendsCredentialAndNeverLogsIt(t *testing.T) {
	t.Parallel()
	wrong := target(serve(t, nil))
	wrong.Credential = "a-password-of-another-server"
	err := probe.New().Probe(t.Context(), wrong)
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Fatalf("got %v, want an error with 401", err)
	}
	if strings.Contains(err.Error(), wrong.Credential.Reveal()) {
		t.Errorf("the error contains the password: %v", err)
	}
}

func TestProbeReportsRefusedConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	err = probe.New().Probe(t.Context(), target(address))
	if err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v, want an error that says that %s refused the connection", err, address)
	}
}

// A server that opens its port before it serves connections never answers the early ones.
func TestSecondProbeSucceedsWhenFirstConnectionHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trap := &lateListener{Listener: l}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{"healthy":true}`)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(trap) // until clean-up closes it
	}()
	t.Cleanup(func() { _ = s.Close(); <-done; trap.release() })

	prober := probe.New()
	first, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := prober.Probe(first, target(l.Addr().String())); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("first probe: got %v, want the deadline: its connection is never answered", err)
	}
	second, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := prober.Probe(second, target(l.Addr().String())); err != nil {
		t.Errorf("second probe: got %v, want nil: a new connection is answered", err)
	}
	if got := trap.accepted.Load(); got != 3 {
		t.Errorf("the server got %d connections, want 3: one that hung, then one for each path", got)
	}
}

// lateListener withholds its first connection from the server.
type lateListener struct {
	net.Listener
	accepted atomic.Int32
	held     atomic.Pointer[net.Conn]
}

func (l *lateListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.accepted.Add(1) > 1 {
			return c, nil
		}
		l.held.Store(&c)
	}
}

func (l *lateListener) release() {
	if c := l.held.Load(); c != nil {
		_ = (*c).Close()
	}
}

func TestProbeOfSlowServerEndsWithContext(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dripped := make(chan struct{})
	go func() {
		defer close(dripped)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
		_, _ = io.Copy(io.Discard, c) // until the prober disconnects
	}()
	t.Cleanup(func() { _ = l.Close(); <-dripped })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := probe.New().Probe(ctx, target(l.Addr().String())); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline: the body never ends", err)
	}
}

func TestProbeIgnoresProxyEnvironment(t *testing.T) {
	asked := make(chan struct{}, 8)
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	// An address of TEST-NET-1 (RFC 5737) answers only through a proxy. Loopback addresses are never proxied.
	err := probe.New().Probe(ctx, target("192.0.2.1:4096"))
	if err == nil {
		t.Error("got nil, want an error: nothing is at 192.0.2.1")
	}
	if len(asked) != 0 {
		t.Error("the probe, with the credential, was sent to the proxy of the environment")
	}
}

func TestProbeRefusesTargetWithoutProfile(t *testing.T) {
	t.Parallel()
	if err := probe.New().Probe(t.Context(), session.Target{Address: "127.0.0.1:1"}); err == nil {
		t.Error("got nil, want an error")
	}
}

func TestBusyReportsWorkInProgress(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status, terminals string
		want              bool
		fails             bool
	}{
		"no work":               {"{}", "[]", false, false},
		"a busy agent":          {`{"ses_1":{"type":"idle"},"ses_2":{"type":"busy"}}`, "[]", true, false},
		"an idle agent":         {`{"ses_1":{"type":"idle"}}`, "[]", false, false},
		"an agent that retries": {`{"ses_1":{"type":"retry","attempt":2}}`, "[]", true, false},
		"an open terminal":      {"{}", `[{"id":"pty_1","status":"running"}]`, true, false},
		"an exited terminal":    {"{}", `[{"id":"pty_1","status":"exited"}]`, false, false},
		"an invalid response":   {`"busy"`, "[]", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := target(serve(t, map[string]answer{"/session/status": {200, jsonType, test.status}, "/pty": {200, jsonType, test.terminals}}))
			to.Profile.Busy = []session.BusyProbe{
				{Path: "/session/status", Member: "type", Values: []string{"busy", "retry"}}, {Path: "/pty", Member: "status", Values: []string{"running"}},
			}
			busy, err := probe.New().Busy(t.Context(), to)
			if busy != test.want || (err != nil) != test.fails {
				t.Errorf("got %v, %v; want %v", busy, err, test.want)
			}
		})
	}
}

// OpenCode 2.x lists what works within a member, and lists nothing else.
func TestBusyReportsAnyElementWithinAMember(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ busy, fails bool }{
		`{"data":{}}`: {}, `{"data":{"ses_1":{"type":"running"}}}`: {busy: true}, `{"data":[{}]}`: {busy: true}, `{"data":[]}`: {},
		`{}`: {fails: true}, `[]`: {fails: true}, `{"data":1}`: {fails: true},
	} {
		to := target(serve(t, map[string]answer{"/api/session/active": {200, jsonType, text}}))
		to.Profile.Busy = []session.BusyProbe{{Path: "/api/session/active", Within: "data"}}
		busy, err := probe.New().Busy(t.Context(), to)
		if busy != want.busy || (err != nil) != want.fails {
			t.Errorf("%s: got %v, %v; want %+v", text, busy, err, want)
		}
	}
}

// A private server that answers without its password has not taken it.
func TestPrivateServerMustRefuseRequestsWithoutTheCredential(t *testing.T) {
	t.Parallel()
	info := map[string]answer{"/api/info": {200, jsonType, `{}`}}
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{}`)
	}))
	t.Cleanup(open.Close)
	for address, refused := range map[string]bool{serve(t, info): false, open.URL: true} {
		to := target(address)
		to.Profile.Ready = session.Probe{Path: "/api/info", Private: true}
		err := probe.New().Probe(t.Context(), to)
		if refused != (err != nil) || refused && !strings.Contains(err.Error(), "without the password") {
			t.Errorf("lets everybody in: %v; got %v", refused, err)
		}
	}
}
