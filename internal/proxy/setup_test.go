package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testID    = session.ID("ses-one")
	testToken = session.Secret("token-of-session-one")
	testUser  = "opencode"
	testGrant = session.Secret("credential-of-server-one")
)

// fixture is a proxy with a real listener in front and one scripted server behind, whose session is running.
type fixture struct {
	table  *Table
	keys   access.Keys
	proxy  *Proxy
	front  *httptest.Server
	server *httptest.Server
	client *http.Client
	logs   *lockedBuffer
}

func testKeys(t *testing.T) access.Keys {
	t.Helper()
	keys, err := access.NewKeys([]byte("a secret of more than sixteen bytes"))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// admitting returns an Authority with the keys of these tests.
func admitting(t *testing.T, o access.Options) *access.Authority {
	t.Helper()
	o.Keys = testKeys(t)
	authority, err := access.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func setup(t *testing.T, server http.HandlerFunc, change ...func(*Options)) *fixture {
	t.Helper()
	return setupBehind(t, func(p http.Handler) http.Handler { return p }, server, change...)
}

// setupBehind puts another handler in front of the proxy.
func setupBehind(t *testing.T, front func(http.Handler) http.Handler, server http.HandlerFunc, change ...func(*Options)) *fixture {
	t.Helper()
	keys := testKeys(t)
	w := &fixture{table: NewTable(), keys: keys, logs: new(lockedBuffer)}
	w.server = httptest.NewServer(server)
	o := Options{
		Table: w.table, Access: admitting(t, access.Options{}), Origins: origin.New(origin.Options{Loopback: true, Listen: 80}),
		Logger: slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if w.proxy, err = New(o); err != nil {
		t.Fatal(err)
	}
	w.front = httptest.NewServer(front(w.proxy.Before(http.NotFoundHandler())))
	w.client = &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	w.table.Set(w.route())
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.table.Close()
		w.front.CloseClientConnections()
		w.front.Close()
		w.server.CloseClientConnections()
		w.server.Close()
	})
	return w
}

func (w *fixture) route() session.Route {
	return session.Route{
		ID: testID, Address: w.server.Listener.Addr().String(), Username: testUser, Credential: testGrant,
		Token: session.Token{Digest: w.keys.Digest(testToken)}, Running: true,
		Profile: &session.Profile{Blocked: []string{"POST /global/upgrade"}},
	}
}

// request makes a request with the session's token to a path after its prefix.
func (w *fixture) request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.front.URL+"/s/"+string(testID)+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testToken.Reveal())
	return r
}

// navigation makes the request of a browser that opens a path on the session's own origin.
func (w *fixture) navigation(t *testing.T, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.front.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = string(testID) + ".localhost"
	r.Header.Set("Authorization", "Bearer "+testToken.Reveal())
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	return r
}

// do sends a request and reads the whole response.
func (w *fixture) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	res, err := w.client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read the answer to %s %s: %v", r.Method, r.URL.Path, err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func (w *fixture) get(t *testing.T, path string) answer {
	t.Helper()
	return w.do(t, w.request(t, http.MethodGet, path, nil))
}

type answer struct {
	status int
	header http.Header
	body   string
}

// code is that of the problem document; "" if it is none.
func (a answer) code() session.Code {
	var problem struct{ Code session.Code }
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
		return ""
	}
	_ = json.Unmarshal([]byte(a.body), &problem)
	return problem.Code
}

func (a answer) mustBe(t *testing.T, status int, code session.Code, why string) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Errorf("got %d %q, want %d %q: %s\n%s", a.status, a.code(), status, code, why, a.body)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// within fails the test if the channel is neither closed nor sent on within five seconds.
func within[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(5 * time.Second):
		t.Fatalf("%s: not within 5 s", what)
		panic("unreachable")
	}
}

func discardLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
