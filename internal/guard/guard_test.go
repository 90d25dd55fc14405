package guard

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/pki"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsPassUnchanged(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		w.Header().Set("Api-Version", "1.41")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s auth=%s forwarded=%q agent=%q", r.Method, r.RequestURI, data, r.Header.Get("X-Registry-Auth"), r.Header.Get("X-Forwarded-For"), r.Header.Get("User-Agent"))
	}))
	w := startGuard(t, engine.socket)
	uri := "/v1.41/images/a%2Fb/json?filters=%7B%22x%22%3A1%7D&odd=a;b"
	request, err := http.NewRequest(http.MethodPost, w.url(uri), strings.NewReader("payload"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Registry-Auth", "abc")
	request.Header.Set("User-Agent", "berth-test")
	response, err := w.client(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	got := body(t, response)
	want := "POST " + uri + ` payload auth=abc forwarded="" agent="berth-test"`
	if got != want || response.StatusCode != http.StatusCreated || response.Header.Get("Api-Version") != "1.41" {
		t.Errorf("got %d %q %v\nwant 201 %q with the engine's headers", response.StatusCode, got, response.Header, want)
	}
	if response.ProtoMajor != 1 || response.TLS.Version != tls.VersionTLS13 {
		t.Errorf("spoke HTTP/%d over TLS %x, want HTTP/1 over TLS 1.3", response.ProtoMajor, response.TLS.Version)
	}
}

func TestStreamsAreNotBuffered(t *testing.T) {
	t.Parallel()
	for _, sized := range []bool{false, true} {
		t.Run(fmt.Sprintf("sized=%v", sized), func(t *testing.T) {
			t.Parallel()
			next := make(chan struct{})
			engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if sized {
					w.Header().Set("Content-Length", "9")
				}
				for i := range 3 {
					fmt.Fprintf(w, "<%d", i)
					fmt.Fprint(w, ">")
					_ = http.NewResponseController(w).Flush()
					<-next
				}
			}))
			w := startGuard(t, engine.socket)
			response, err := w.client(t).Get(w.url("/build"))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			piece := make([]byte, 3)
			for i := range 3 {
				// The engine writes the next piece only after this one was read: buffered output would block here.
				if _, err := io.ReadFull(response.Body, piece); err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf("<%d>", i); string(piece) != want {
					t.Errorf("piece %q, want %q", piece, want)
				}
				next <- struct{}{}
			}
		})
	}
}

func TestAnswerStartsBeforeUploadEnds(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintln(w, "got", lines.Text())
			_ = control.Flush()
		}
	}))
	w := startGuard(t, engine.socket)
	reader, writer := io.Pipe()
	go func() { _, _ = io.WriteString(writer, "one\n") }()
	giveUp := time.AfterFunc(timeout, func() { writer.CloseWithError(errors.New("the answer did not begin")) })
	defer giveUp.Stop()
	request, err := http.NewRequest(http.MethodPost, w.url("/images/load"), reader)
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.client(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answers := bufio.NewReader(response.Body)
	for _, word := range []string{"one", "two"} {
		if word != "one" {
			if _, err := io.WriteString(writer, word+"\n"); err != nil {
				t.Fatal(err)
			}
		}
		if line, err := answers.ReadString('\n'); line != "got "+word+"\n" {
			t.Fatalf("answer %q, %v; want one to %q while the upload goes on", line, err, word)
		}
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(answers); len(rest) != 0 || err != nil {
		t.Errorf("rest %q, %v; want a clean end", rest, err)
	}
}

func TestEngineConnectionsAreReused(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") }))
	w := startGuard(t, engine.socket)
	client := w.client(t)
	const workers, each = 16, 20
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				response, err := client.Get(w.url("/version"))
				if err != nil {
					t.Error(err)
					return
				}
				_ = body(t, response)
			}
		})
	}
	group.Wait()
	if got := engine.dialled(); got > 2*workers {
		t.Errorf("%d requests of %d workers made %d engine connections, want about %d", workers*each, workers, got, workers)
	}
}

func TestUnauthenticatedClientsAreRefused(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{}, 100)
	engine := startEngine(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
	w := startGuard(t, engine.socket)
	other := filepath.Join(t.TempDir(), "other")
	if _, err := pki.Init(other, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	foreign, _, err := pki.LoadClientTLS(pki.ClientPaths(other, pki.Paths{}), pki.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*tls.Config)
		reason string
	}{
		{"no certificate", func(c *tls.Config) { c.GetClientCertificate = nil }, "didn't provide a certificate"},
		{"another authority", func(c *tls.Config) { c.GetClientCertificate = foreign.GetClientCertificate }, "unknown authority"},
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, "unsupported versions"},
	} {
		config := w.tls(t)
		tt.change(config)
		transport := &http.Transport{TLSClientConfig: config}
		response, err := (&http.Client{Transport: transport}).Get(w.url("/_ping"))
		if err == nil {
			response.Body.Close()
			t.Errorf("%s: answered %d, want a refused handshake", tt.name, response.StatusCode)
		}
		transport.CloseIdleConnections()
		entry := w.log.wait(t, "tls handshake refused", func(e map[string]any) bool {
			return strings.Contains(fmt.Sprint(e["reason"]), tt.reason)
		})
		if entry["level"] != "WARN" || !strings.HasPrefix(fmt.Sprint(entry["remote"]), "127.0.0.1:") {
			t.Errorf("%s: logged %v, want a warning with the remote address", tt.name, entry)
		}
	}
	if len(reached) > 0 {
		t.Errorf("%d refused requests reached the engine", len(reached))
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	t.Parallel()
	w := startGuard(t, filepath.Join(t.TempDir(), "none.sock"))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://" + w.address + "/_ping")
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, response); response.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP got %d %q, want 400", response.StatusCode, got)
	}
}

func TestExpiredCertificateIsRefusedOnOpenConnection(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") }))
	var mu sync.Mutex
	now := time.Now()
	w := startGuard(t, engine.socket, func(o *Options) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	client := w.client(t)
	get := func() (int, string) {
		response, err := client.Get(w.url("/_ping"))
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, body(t, response)
	}
	if status, _ := get(); status != http.StatusOK {
		t.Fatalf("valid certificate: %d, want 200", status)
	}
	mu.Lock()
	now = now.AddDate(0, 0, 100)
	mu.Unlock()
	if status, text := get(); status != http.StatusForbidden || !strings.Contains(text, "expired") {
		t.Errorf("expired on an open connection: %d %q, want 403 with the reason", status, text)
	}
}

func TestUnavailableEngineIsReported(t *testing.T) {
	t.Parallel()
	dead := filepath.Join(t.TempDir(), "dead.sock")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hangsUp := startEngine(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	for _, tt := range []struct{ name, socket, method, path, says string }{
		{"no socket", "/nonexistent/docker.sock", http.MethodGet, "/_ping", "/nonexistent/docker.sock does not exist"},
		{"no listener", dead, http.MethodGet, "/v1.41/info", "systemctl start docker"},
		{"no socket for a take-over", "/nonexistent/docker.sock", http.MethodPost, "/containers/x/attach", "does not exist"},
		{"hangs up", hangsUp.socket, http.MethodGet, "/info", "before it answered"},
		{"hangs up on a take-over", hangsUp.socket, http.MethodPost, "/exec/x/start", "before it answered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := startGuard(t, tt.socket)
			request, err := http.NewRequest(tt.method, w.url(tt.path), nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := w.client(t).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			text := body(t, response)
			var answer map[string]string
			if err := json.Unmarshal([]byte(text), &answer); err != nil {
				t.Fatalf("%q is not JSON: %v", text, err)
			}
			if response.StatusCode != http.StatusBadGateway || !strings.Contains(answer["message"], tt.says) {
				t.Errorf("got %d %v, want 502 and a message with %q", response.StatusCode, answer, tt.says)
			}
			if diff := cmp.Diff("application/json", response.Header.Get("Content-Type")); diff != "" {
				t.Errorf("content type: %s", diff)
			}
		})
	}
}

func TestLogShowsPatternsAndNoSecrets(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	w := startGuard(t, engine.socket)
	response, err := w.client(t).Get(w.url("/v1.41/containers/sekret/json?token=sekret"))
	if err != nil {
		t.Fatal(err)
	}
	_ = body(t, response)
	entry := w.log.wait(t, "engine request", func(map[string]any) bool { return true })
	if entry["route"] != "/containers/{id}/json" || entry["status"] != 204.0 || entry["client"] != "tester" || entry["method"] != "GET" || entry["level"] != "DEBUG" {
		t.Errorf("logged %v", entry)
	}
	if text := fmt.Sprint(entry); strings.Contains(text, "sekret") {
		t.Errorf("%s holds a value of the request", text)
	}
}
