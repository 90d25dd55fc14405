package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// bubble is a proxy between in-memory pipes, for tests with a fake clock.
type bubble struct {
	client *http.Client
	end    func()
}

// newBubble makes a proxy and a server. The session of testID is running and its server answers with the handler. Both
// HTTP servers have timeouts, as Berth's server has for its own responses.
func newBubble(t *testing.T, handler http.HandlerFunc) bubble {
	t.Helper()
	upstream, entrance := newPipeListener(), newPipeListener()
	keys := testKeys(t)
	table := NewTable()
	proxy, err := New(Options{Table: table, Access: admitting(t, access.Options{}), Logger: discardLogger(), Transport: Transport{Dial: upstream.dial}})
	if err != nil {
		t.Fatal(err)
	}
	table.Set(session.Route{
		ID: testID, Address: "10.0.0.2:4096", Username: testUser, Credential: testGrant, Token: session.Token{Digest: keys.Digest(testToken)}, Running: true,
		Profile: &session.Profile{Silent: []string{"/session/*/message", "POST /login/*/callback"}},
	})
	server := &http.Server{Handler: handler}
	front := &http.Server{Handler: proxy, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	done := make(chan struct{}, 2)
	for _, s := range []struct {
		*http.Server
		net.Listener
	}{{server, upstream}, {front, entrance}} {
		go func() { _ = s.Serve(s.Listener); done <- struct{}{} }()
	}
	b := bubble{client: &http.Client{Transport: &http.Transport{DialContext: entrance.dial}}}
	b.end = func() {
		b.client.CloseIdleConnections()
		table.Close()
		_ = front.Close()
		_ = server.Close()
		<-done
		<-done
	}
	return b
}

func (b bubble) request(method, path string, body io.Reader) *http.Request {
	r, _ := http.NewRequest(method, "http://berth.example/s/"+string(testID)+path, body)
	r.Header.Set("Authorization", "Bearer "+testToken.Reveal())
	return r
}

// silentFor is a server that reads the request and then sends nothing for the given time.
func silentFor(silence time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-time.After(silence):
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	}
}

func TestServerWithoutResponseHeaderIs504(t *testing.T) {
	t.Parallel()
	const silence = 330 * time.Second
	for _, row := range []struct {
		name, method, path string
		header             http.Header
		limited            bool
	}{
		{"ordinary", http.MethodGet, "/session", nil, true},
		{"ordinary with a body", http.MethodPost, "/session", nil, true},
		{"silent by nature", http.MethodPost, "/session/x/message", nil, false},
		{"silent call, other spelling", http.MethodPost, "/session//x/./message", nil, false},
		{"silent with one method", http.MethodPost, "/login/x/callback", nil, false},
		{"the same with another method", http.MethodGet, "/login/x/callback", nil, true},
		{"event stream", http.MethodGet, "/event", http.Header{"Accept": {"text/event-stream"}}, false},
		{"upgrade", http.MethodGet, "/pty", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, silentFor(silence))
				defer b.end()
				var body io.Reader
				if row.method == http.MethodPost {
					body = strings.NewReader("{}")
				}
				r := b.request(row.method, row.path, body)
				for name, values := range row.header {
					r.Header[name] = values
				}
				started := time.Now()
				res, err := b.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				text, _ := io.ReadAll(res.Body)
				status, took := http.StatusOK, silence
				if row.limited {
					status, took = http.StatusGatewayTimeout, 30*time.Second
				}
				if got := time.Since(started); res.StatusCode != status || got != took {
					t.Errorf("got %d after %v, want %d after %v\n%s", res.StatusCode, got, status, took, text)
				}
				if row.limited && !strings.Contains(string(text), `"code":"upstream_timeout"`) {
					t.Errorf("got %s, want a problem that says so", text)
				}
			})
		})
	}
}

func TestHeaderTimeoutStartsAfterRequestBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, silentFor(29*time.Second))
		defer b.end()
		slow, typing := io.Pipe()
		go func() {
			for range 100 { // a slow uplink
				<-time.After(10 * time.Second)
				_, _ = io.WriteString(typing, "x")
			}
			_ = typing.Close()
		}()
		res, err := b.client.Do(b.request(http.MethodPost, "/session", slow))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("got %d for an upload of 1,000 s that was answered 29 s later, want 200", res.StatusCode)
		}
	})
}

func TestStartedResponseHasNoTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(w http.ResponseWriter, _ *http.Request) {
			for i := range 100 {
				_, _ = fmt.Fprintln(w, i)
				_ = http.NewResponseController(w).Flush()
				<-time.After(10 * time.Second)
			}
		})
		defer b.end()
		res, err := b.client.Do(b.request(http.MethodGet, "/session", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if lines := strings.Count(string(text), "\n"); res.StatusCode != http.StatusOK || lines != 100 || err != nil {
			t.Errorf("got %d and %d lines, %v; want 200 and all 100 lines", res.StatusCode, lines, err)
		}
	})
}

func TestEarlyResponseHeaderStopsHeaderTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		body := &clientBody{ReadCloser: io.NopCloser(strings.NewReader("late"))}
		var w headerTimer
		w.begin(30*time.Second, body, cancel)
		if !w.headerInTime() {
			t.Error("the header arrived before the timer started, and was counted as late")
		}
		_, _ = io.Copy(io.Discard, body)
		<-time.After(time.Hour)
		if ctx.Err() != nil {
			t.Errorf("ended by %v, want the request to continue", context.Cause(ctx))
		}
	})
}
