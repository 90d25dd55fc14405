package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/session"
	"berth/internal/waittest"
)

func TestRefusedConnectionIs502AndCallsDialFailed(t *testing.T) {
	t.Parallel()
	var failed atomic.Int32
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) { o.DialFailed = func() { failed.Add(1) } })
	if w.get(t, "/"); failed.Load() != 0 {
		t.Error("DialFailed was called although the connection was made")
	}
	w.server.CloseClientConnections()
	w.server.Close()
	got := w.get(t, "/")
	got.mustBe(t, 502, session.CodeUpstream, "the connection is refused")
	if failed.Load() == 0 {
		t.Error("DialFailed was not called")
	}
	if strings.Contains(got.body, w.route().Address) || strings.Contains(got.body, "refused") {
		t.Errorf("the response shows internal details:\n%s", got.body)
	}
	if !strings.Contains(w.logs.String(), "connection refused") {
		t.Errorf("the log does not say why:\n%s", w.logs.String())
	}
}

func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := testKeys(t)
		table := NewTable()
		proxy, err := New(Options{Table: table, Access: admitting(t, access.Options{}), Logger: discardLogger(), Transport: Transport{
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		table.Set(session.Route{ID: testID, Address: "10.0.0.2:4096", Token: session.Token{Digest: keys.Digest(testToken)}, Running: true})
		defer table.Close()
		r := httptest.NewRequest(http.MethodGet, "/s/ses-one/", nil)
		r.Header.Set("Authorization", "Bearer "+testToken.Reveal())
		w := httptest.NewRecorder()
		started := time.Now()
		proxy.ServeHTTP(w, r)
		if took := time.Since(started); took != 10*time.Second || w.Code != 504 {
			t.Errorf("got %d after %v, want 504 after 10 s", w.Code, took)
		}
	})
}

func TestRefusedUpstreamCredentialIs502AndLogged(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Www-Authenticate", `Basic realm="Secure Area"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	got := w.get(t, "/")
	got.mustBe(t, 502, session.CodeUpstream, "it is not the client's credential that is wrong")
	if h := got.header.Get("Www-Authenticate"); h != "" {
		t.Errorf("the client is asked to log in: %q", h)
	}
	if !strings.Contains(w.logs.String(), `"level":"ERROR"`) {
		t.Errorf("not logged as an error:\n%s", w.logs.String())
	}
}

func TestServerExitMidResponseBreaksTheResponse(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"chunked": "", "of known length": "1000"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			die := make(chan struct{})
			w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = io.WriteString(w, "beginning")
				_ = http.NewResponseController(w).Flush()
				<-die
				panic(http.ErrAbortHandler)
			})
			res, err := w.client.Do(w.request(t, http.MethodGet, "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			close(die)
			body, err := io.ReadAll(res.Body)
			if err == nil {
				t.Errorf("got %q and a regular end", body)
			}
			waittest.True(t, "access log", func() bool { return strings.Contains(w.logs.String(), `"complete":false`) })
			if got := w.proxy.InFlight(); got != 0 {
				t.Errorf("in flight: got %d, want 0", got)
			}
		})
	}
}

func TestServerExitBeforeResponseIs502(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	w.get(t, "/").mustBe(t, 502, session.CodeUpstream, "the connection was closed without an answer")
}

func TestAbortedUploadGetsNoResponse(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) { began <- struct{}{}; <-r.Context().Done() })
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /s/ses-one/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+testToken.Reveal()+"\r\n\r\n")
	within(t, "request at the server", began)
	_ = conn.(*net.TCPConn).CloseWrite() // Go's server treats this as a client that closed the request
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, err := io.ReadAll(conn)
	if len(got) != 0 || (err != nil && errors.Is(err, context.DeadlineExceeded)) {
		t.Errorf("got %q, %v; want nothing", got, err)
	}
}

func TestAccessLogHasNoSecretsAndNoPaths(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "12345") })
	w.get(t, "/private/path?secret=query&auth_token=x")
	waittest.True(t, "access log", func() bool { return strings.Contains(w.logs.String(), "request proxied") })
	logs := w.logs.String()
	for _, bad := range []string{"private", "query", "auth_token", testToken.Reveal(), testGrant.Reveal()} {
		if strings.Contains(logs, bad) {
			t.Errorf("the log has %q:\n%s", bad, logs)
		}
	}
	for _, want := range []string{`"method":"GET"`, `"route":"/s/{id}/"`, `"status":200`, `"bytes":5`, `"session_id":"ses-one"`, `"duration_ms":`, `"complete":true`} {
		if !strings.Contains(logs, want) {
			t.Errorf("the log lacks %s:\n%s", want, logs)
		}
	}
}

// A user and their server can cause any number of failures, and the log is shared by all sessions.
func TestFailuresOfOneServerAreLoggedWithinItsShare(t *testing.T) {
	t.Parallel()
	const share, flood = 3, 10
	left := map[session.ID]int{testID: share, "ses-two": share}
	s := newScripted(t, says("this is no HTTP\r\n\r\n"))
	w := s.front(t, func(o *Options) {
		o.MayLog = func(id session.ID) bool { left[id]--; return left[id] >= 0 }
	})
	r := w.route()
	r.ID, r.Address = "ses-two", s.listener.Addr().String()
	w.table.Set(r)
	ask := func(id session.ID) {
		r := w.request(t, http.MethodGet, "/", nil)
		r.URL.Path = "/s/" + string(id) + "/"
		w.do(t, r).mustBe(t, http.StatusBadGateway, session.CodeUpstream, "the server says nothing that is HTTP")
	}
	for range flood {
		ask(testID)
	}
	ask("ses-two")

	got := map[string]int{}
	for line := range strings.Lines(w.logs.String()) {
		var l struct {
			Level, Msg string
			Session    string `json:"session_id"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Msg == "session's server failed a request" {
			got[l.Session+" "+l.Level]++
		}
	}
	if got["ses-one WARN"] != share || got["ses-one DEBUG"] != flood-share || got["ses-two WARN"] != 1 {
		t.Errorf("%d failures of one server and one of another, with a share of %d: got %v", flood, share, got)
	}
}
