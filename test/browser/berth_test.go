package browser_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/storage"
	"berth/internal/tlstest"
	"berth/internal/waittest"
	"berth/test/harness"
)

// Berth's own name and the sessions' are of one site, so that a browser sends the cookies of one with requests of the others'
// pages. That is the worst case.
const (
	ownName = "berth.example.test"
	domain  = "ses.example.test"
)

// berth is a Berth that serves TLS with HTTP/2.
type berth struct {
	url    string // of the API, without a slash at its end
	port   string
	admin  string
	client *http.Client
}

// startBerth runs a Berth in this process until the test ends.
func startBerth(t *testing.T) *berth {
	t.Helper()
	authority := tlstest.New(t)
	listen := harness.FreeAddress(t)
	overrides := settings(t, authority, listen)
	overrides["BERTH_RUNTIME"], overrides["BERTH_STATE_DIR"] = "process", filepath.Join(t.TempDir(), "state")
	cfg, err := config.Load(config.Options{Overrides: overrides})
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	profile := cfg.Profiles["opencode"]
	profile.Command = []string{program, "{port}"}
	profile.Env = map[string]string{serveVariable: "1"}
	cfg.Profiles["opencode"] = profile

	a, err := app.New(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := a.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return connect(t, authority, listen, cfg.Server.StateDir)
}

// settings of a Berth that serves TLS at an address of this machine.
func settings(t *testing.T, authority *tlstest.Authority, listen string) map[string]string {
	t.Helper()
	cert, key := authority.Files(t, ownName, "*."+domain)
	_, port, _ := strings.Cut(listen, ":")
	return map[string]string{
		"BERTH_LISTEN": listen, "BERTH_PUBLIC_URL": "https://" + ownName + ":" + port, "SESSION_DOMAIN": domain,
		"BERTH_TLS_CERT": cert, "BERTH_TLS_KEY": key, "BERTH_DRAIN_TIMEOUT": "2", "SESSION_START_TIMEOUT": "60",
		"RESOURCE_CRITICAL_THRESHOLD": "1", // the tests themselves load the machine
	}
}

// connect waits until a Berth with these settings and this state directory is ready.
func connect(t *testing.T, authority *tlstest.Authority, listen, stateDir string) *berth {
	t.Helper()
	_, port, _ := strings.Cut(listen, ":")
	transport := &http.Transport{TLSClientConfig: authority.Client(""), ForceAttemptHTTP2: true, DialContext: toThisMachine}
	t.Cleanup(transport.CloseIdleConnections)
	b := &berth{url: "https://" + ownName + ":" + port, port: port, client: &http.Client{Transport: transport}}
	waittest.Until(t, "Berth is ready", func() error {
		_, err := b.try(http.MethodGet, b.url+"/readyz", "")
		return err
	})
	text, err := os.ReadFile(storage.AdminTokenFile(stateDir))
	if err != nil {
		t.Fatal(err)
	}
	b.admin = strings.TrimSpace(string(text))
	return b
}

func toThisMachine(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// try makes a request as a program does.
func (b *berth) try(method, address, token string) (answer, error) {
	req, err := http.NewRequest(method, address, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text}, err
}

// call makes a request and decodes the JSON of its answer, which must have that status.
func (b *berth) call(t *testing.T, method, address, token string, want int, out any) {
	t.Helper()
	a, err := b.try(method, address, token)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != want {
		t.Fatalf("%s %s: got %d %s, want %d", method, address, a.status, a.body, want)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, address, err, a.body)
		}
	}
}

// room is a session of a [berth].
type room struct {
	*berth
	ID    string `json:"session_id"`
	Token string `json:"token"`
}

func (b *berth) create(t *testing.T) room {
	t.Helper()
	made := room{berth: b}
	b.call(t, http.MethodPost, b.url+"/sessions", b.admin, http.StatusCreated, &made)
	t.Cleanup(func() { // its process outlives Berth
		b.call(t, http.MethodDelete, b.url+"/sessions/"+made.ID, b.admin, http.StatusNoContent, nil)
	})
	return made
}

// origin is the session's own.
func (r room) origin() string { return "https://" + r.ID + "." + domain + ":" + r.port }

// link makes a link that signs a browser in.
func (r room) link(t *testing.T) string {
	t.Helper()
	var made struct {
		Links []struct{ URL string }
	}
	r.call(t, http.MethodPost, r.url+"/sessions/"+r.ID+"/links", r.admin, http.StatusCreated, &made)
	if len(made.Links) == 0 || !strings.HasPrefix(made.Links[0].URL, r.origin()+"/") {
		t.Fatalf("the links of %s: got %d others", r.origin(), len(made.Links))
	}
	return made.Links[0].URL
}

// report asks the session's server what it has seen, as a program.
func (r room) report(t *testing.T) (seen report) {
	t.Helper()
	r.call(t, http.MethodGet, r.url+"/s/"+r.ID+"/report", r.Token, http.StatusOK, &seen)
	return seen
}
