package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"berth/internal/config"
)

// listSessions runs "berth session list" with the environment.
func listSessions(t *testing.T, environ []string, flags ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"session", "list"}, flags...), &stdio{Out: &stdout, Err: &stderr, Environ: environ})
	return code, stdout.String(), stderr.String()
}

func TestClientHintsForServerThatIsNotBerth(t *testing.T) {
	t.Parallel()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hello", http.StatusTeapot) })
	plain, secure := httptest.NewServer(hello), httptest.NewTLSServer(hello)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	redirecting := httptest.NewServer(http.RedirectHandler("https://berth.example/sessions", http.StatusMovedPermanently))
	t.Cleanup(redirecting.Close)
	for name, tc := range map[string]struct {
		url  string
		want []string
	}{
		"https against http": {strings.Replace(plain.URL, "http:", "https:", 1), []string{"does not speak TLS", "hint: use " + plain.URL}},
		"http against https": {strings.Replace(secure.URL, "https:", "http:", 1), []string{"answered 400", "hint: it speaks TLS: use " + secure.URL}},
		"unknown authority":  {secure.URL, []string{"is not trusted", "SSL_CERT_FILE"}},
		"another program":    {plain.URL, []string{"this is not Berth's API", "--url"}},
		"redirect":           {redirecting.URL, []string{`redirects to "https://berth.example/sessions"`}},
		"connection refused": {"http://127.0.0.1:1", []string{"cannot reach Berth", "berth serve"}},
	} {
		code, out, errs := listSessions(t, []string{"BERTH_ADMIN_TOKEN=0123456789abcdef", "HOME=" + t.TempDir()}, "--url", tc.url)
		if code == 0 || out != "" {
			t.Errorf("%s: got exit code %d and output %q", name, code, out)
		}
		for _, want := range tc.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: got %q, want %q in it", name, errs, want)
			}
		}
	}
}

// TestClientTimesOutOnSilentListener uses a socket that accepts connections and does not answer, like that of systemd.
func TestClientTimesOutOnSilentListener(t *testing.T) {
	t.Parallel()
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	base := &url.URL{Scheme: "http", Host: socket.Addr().String()}
	api := newClient(base, "0123456789abcdef", "a test")
	if api.answerTimeout != 30*time.Second {
		t.Errorf("the client waits for %s, want 30s", api.answerTimeout)
	}
	api.answerTimeout = 20 * time.Millisecond
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		err := api.call(t.Context(), method, "/sessions", nil, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "does not answer within 20ms") || exitCode(err) != exitUnavailable {
			t.Errorf("%s: got %v and exit code %d", method, err, exitCode(err))
		}
		if hint := hintOf(err); !strings.Contains(hint, "systemctl status berth") {
			t.Errorf("%s: got the hint %q", method, hint)
		}
	}
}

func TestClientWaitsForSlowPostWhileServerIsAlive(t *testing.T) {
	t.Parallel()
	probes := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" {
			probes <- struct{}{}
			return
		}
		<-probes
		<-probes
		_, _ = w.Write([]byte(`{"session_id":"ses-aaaa"}`))
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	api := newClient(base, "0123456789abcdef", "a test")
	api.answerTimeout = 200 * time.Millisecond
	var made struct {
		ID string `json:"session_id"`
	}
	if err := api.call(t.Context(), http.MethodPost, "/sessions", nil, nil, &made); err != nil || made.ID != "ses-aaaa" {
		t.Errorf("got %+v, %v", made, err)
	}
}

func TestErrorLinesHaveJournalPriority(t *testing.T) {
	t.Parallel()
	journal, err := os.CreateTemp(t.TempDir(), "journal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(journal.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	code := run([]string{"config", "check"}, &stdio{Out: io.Discard, Err: journal, Environ: []string{
		"LOG_LEVEL=LOUD", "MAX_CONCURRENT_SESSIONS=0", fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino),
	}})
	text, err := os.ReadFile(journal.Name())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if code != exitUsage || len(lines) < 3 {
		t.Fatalf("got exit code %d and %q", code, text)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "<3>") {
			t.Errorf("the line %q has no priority", line)
		}
	}
}

func TestClientUsesAddressFileOfStateDirectory(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"sessions": []any{}})
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{"address": server.URL, "admin-token": token} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, errs := listSessions(t, []string{"BERTH_STATE_DIR=" + dir}); code != 0 || !strings.Contains(out, "SESSION") {
		t.Errorf("got exit code %d, %q, %q; want the list of the Berth that serves from %s", code, out, errs, dir)
	}
}

// A token that was not named explicitly is sent to its own Berth only.
func TestConfiguredTokenIsNotSentToOtherAddress(t *testing.T) {
	t.Parallel()
	var seen atomic.Value
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen.Store(r.Header.Get("Authorization")) }))
	t.Cleanup(elsewhere.Close)
	home := t.TempDir()
	dir := filepath.Join(home, "berth")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home, "berth.yaml")
	for name, text := range map[string]string{
		filepath.Join(dir, "address"): "http://127.0.0.1:1", filepath.Join(dir, "admin-token"): "0123456789abcdef", file: "server: {state_dir: " + dir + "}",
	} {
		if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, _, errs := listSessions(t, []string{"HOME=" + home, "BERTH_CONFIG=" + file}, "--url", elsewhere.URL)
	if code != exitUsage || !strings.Contains(errs, "--token-file") || seen.Load() != nil {
		t.Errorf("another address: got exit code %d, %q, and %v was sent; want a usage error and nothing sent", code, errs, seen.Load())
	}
	code, _, errs = listSessions(t, []string{"HOME=" + home, "BERTH_CONFIG=" + file}, "--url", "http://localhost:1")
	if code != exitUnavailable || !strings.Contains(errs, "cannot reach Berth") {
		t.Errorf("its own address, written differently: got exit code %d, %q; want it called", code, errs)
	}
	code, _, errs = listSessions(t, []string{"HOME=" + home, "BERTH_CONFIG=" + file}, "--url", elsewhere.URL, "--token-file", filepath.Join(dir, "admin-token"))
	if code == exitUsage || seen.Load() != "Bearer 0123456789abcdef" {
		t.Errorf("explicit token: got exit code %d, %q, and %v was sent", code, errs, seen.Load())
	}
}

func TestUnauthorizedErrorNamesTokenSource(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"status":401,"code":"unauthorized","detail":"this token is not valid for this request"}`))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := listSessions(t, []string{"HOME=/nonexistent"}, "--url", server.URL, "--token-file", file)
	if code != exitAuth || !strings.Contains(errs, file) || !strings.Contains(errs, server.URL) {
		t.Errorf("got exit code %d, %q; want the file and the address in it", code, errs)
	}
}

func TestCompletionListsSessionIDs(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/sessions" || r.Header.Get("Authorization") != "Bearer 0123456789abcdef" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(`{"sessions":[{"session_id":"ses-aaaa","status":"running","owner":"alice\u001b[2J"},{"session_id":"ses-bbbb","status":"stopped"}]}`))
	}))
	t.Cleanup(server.Close)
	for line, want := range map[string]string{
		"session stop --url " + server.URL + " ses-b":          "ses-bbbb\tstopped\n",
		"session stop --url=" + server.URL + " ses-bbbb ses-a": "ses-aaaa\trunning alice\\x1b[2J\n",
		"session logs --url " + server.URL + " -- ses-b":       "ses-bbbb\tstopped\n",
		"session list --url " + server.URL + " ses-":           "",
		"session show --url " + server.URL + " --out":          "--output\tForm of the output: table,json.\n",
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"__complete", "--"}, strings.Split(line, " ")...)
		std := &stdio{Out: &stdout, Err: &stderr, Environ: []string{"BERTH_ADMIN_TOKEN=0123456789abcdef", "HOME=" + t.TempDir()}}
		if code := run(args, std); code != 0 || stdout.String() != want || stderr.String() != "" {
			t.Errorf("berth %s: got exit code %d, %q, %q; want %q", line, code, stdout.String(), stderr.String(), want)
		}
	}
}

// TestFlagVariablesAreKnownToConfig: the variable of a flag must not give a warning about a misspelt setting.
func TestFlagVariablesAreKnownToConfig(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli{}, kong.Vars{"cert_dir": "certs"})
	if err != nil {
		t.Fatal(err)
	}
	environ := []string{"HOME=/home/alice"}
	var walk func(*kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			for _, name := range f.Envs {
				environ = append(environ, name+"=1")
			}
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(parser.Model.Node)
	if len(environ) < 5 {
		t.Fatalf("found the variables %q only", environ)
	}
	cfg, _ := config.Load(config.Options{Environ: environ})
	if len(cfg.Unknown) > 0 {
		t.Errorf("taken for misspelt settings: %q", cfg.Unknown)
	}
}

// TestListFetchesEveryPage checks that each request has the query of the first one.
func TestListFetchesEveryPage(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if query.Get("limit") != "1000" || query.Get("owner") != "alice" {
			t.Errorf("got the query %v, want the limit and the owner in it", query)
		}
		switch query.Get("after") {
		case "":
			_, _ = io.WriteString(w, `{"sessions": [{"session_id": "ses-a"}], "next": "one"}`)
		case "one":
			_, _ = io.WriteString(w, `{"sessions": [{"session_id": "ses-b"}], "next": "two"}`)
		default:
			_, _ = io.WriteString(w, `{"sessions": []}`)
		}
	}))
	t.Cleanup(server.Close)
	code, out, errs := listSessions(t, []string{"BERTH_ADMIN_TOKEN=0123456789abcdef", "HOME=" + t.TempDir()}, "--url", server.URL, "--owner", "alice")
	if code != 0 || !strings.Contains(out, "ses-a") || !strings.Contains(out, "ses-b") {
		t.Errorf("got exit code %d, %q and %q; want both sessions", code, out, errs)
	}
}
