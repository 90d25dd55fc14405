// Package lifecycle_test starts, reloads, restarts and supervises the real binary, with the process runtime.
package lifecycle_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"berth/internal/dockertest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// fixture is a supervisor: it holds the socket that Berth serves on, starts Berth, and receives its notifications.
type fixture struct {
	t             *testing.T
	dir           string
	config        string
	socket        *os.File // nil: Berth opens its own
	address       string
	notifications *net.UnixConn
	env           []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := &fixture{t: t, dir: t.TempDir()}
	w.config = filepath.Join(w.dir, "berth.yaml")
	w.configure(nil)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	harness.Must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	w.address = l.Addr().String()
	w.socket, err = l.(*net.TCPListener).File()
	harness.Must(t, err)
	t.Cleanup(func() { _ = w.socket.Close() })

	path := "@berth-notify-" + rand.Text() // abstract: a test's directory is too long for a socket
	w.notifications, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	harness.Must(t, err)
	t.Cleanup(func() { _ = w.notifications.Close() })
	w.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "BERTH_RUNTIME=process", "BERTH_STATE_DIR=" + filepath.Join(w.dir, "state"),
		"BERTH_CONFIG=" + w.config, "NOTIFY_SOCKET=" + path, "LOG_FORMAT=json", "BERTH_DRAIN_TIMEOUT=10", "PROCESS_COMMAND=" + dockertest.BuildStub(t),
	}
	return w
}

// configure writes the configuration file, with settings by area beside the profile of the stub server.
func (w *fixture) configure(settings map[string]any) {
	w.t.Helper()
	all := map[string]any{
		"limits": map[string]any{"critical": 1.0},
		"profiles": map[string]any{"stub": map[string]any{
			"image": "none", "port": 4096, "uid": 10001, "gid": 10001, "min_memory": "16m", "username": "opencode",
			"password_env": "OPENCODE_SERVER_PASSWORD", "ready": map[string]any{"path": "/global/health", "member": "healthy"},
			"env": map[string]string{"STUB_STATE": "."}, "volumes": []map[string]string{{"name": "workspace", "path": "/workspace"}},
			"command": []string{"stub", "-hostname", "127.0.0.1", "-port", "{port}"},
		}},
		"session": map[string]any{"profile": "stub"},
	}
	for area, values := range settings {
		all[area] = values
	}
	text, err := yaml.Marshal(all)
	harness.Must(w.t, err)
	harness.Must(w.t, os.WriteFile(w.config, text, 0o600))
}

// berth is a running Berth process.
type berth struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start starts Berth on the supervisor's socket.
func (w *fixture) start(env ...string) *berth {
	w.t.Helper()
	b := &berth{log: filepath.Join(w.dir, "berth.log"), done: make(chan struct{})}
	out, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	harness.Must(w.t, err)
	// The process ID must be in the environment, and only the process itself knows it before its start.
	b.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" serve`, harness.Binary(w.t))
	b.cmd.Env, b.cmd.Stdout, b.cmd.Stderr, b.cmd.Dir = append(append(w.env, "LISTEN_FDS=1"), env...), out, out, w.dir
	b.cmd.ExtraFiles = []*os.File{w.socket}
	harness.Must(w.t, b.cmd.Start())
	go func() { _ = b.cmd.Wait(); _ = out.Close(); close(b.done) }()
	w.t.Cleanup(func() {
		b.end(syscall.SIGKILL)
		if w.t.Failed() {
			text, _ := os.ReadFile(b.log)
			w.t.Logf("the log ends with:\n%s", text[max(0, len(text)-6000):])
		}
	})
	return b
}

// end sends a signal and waits until the process has ended.
func (b *berth) end(s os.Signal) {
	_ = b.cmd.Process.Signal(s)
	<-b.done
}

// waitForNotification waits for a notification of Berth.
func (w *fixture) waitForNotification(want string) {
	w.t.Helper()
	buf := make([]byte, 4096)
	harness.Must(w.t, w.notifications.SetReadDeadline(time.Now().Add(20*time.Second)))
	var received []string
	for {
		n, err := w.notifications.Read(buf)
		if err != nil {
			w.t.Fatalf("no notification %q within 20 s, but %q: %v", want, received, err)
		}
		if received = append(received, string(buf[:n])); strings.Contains(string(buf[:n]), want) {
			return
		}
	}
}

func (w *fixture) admin() string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "state", "admin-token"))
	harness.Must(w.t, err)
	return strings.TrimSpace(string(text))
}

// call sends a request and returns the status and the members of the response.
func (w *fixture) call(ctx context.Context, client *http.Client, method, path, token string) (int, map[string]any, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+w.address+path, nil)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	var members map[string]any
	_ = json.Unmarshal(text, &members)
	return resp.StatusCode, members, err
}

func (w *fixture) create() (id, token string) {
	w.t.Helper()
	status, made, err := w.call(w.t.Context(), http.DefaultClient, http.MethodPost, "/sessions", w.admin())
	if err != nil || status != http.StatusCreated {
		w.t.Fatalf("create: got %d %v, %v", status, made, err)
	}
	w.t.Cleanup(func() { // its server keeps running when Berth exits
		for _, p := range processesIn(filepath.Join(w.dir, "state")) {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
	})
	return made["session_id"].(string), made["token"].(string)
}

// processesIn lists the processes whose working directory is in dir.
func processesIn(dir string) []int {
	entries, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var found []int
	for _, e := range entries {
		if at, err := os.Readlink(e); err == nil && strings.HasPrefix(at, dir) {
			var pid int
			if _, err := fmt.Sscanf(e, "/proc/%d/cwd", &pid); err == nil {
				found = append(found, pid)
			}
		}
	}
	return found
}

// logged waits for a line of the log with all of words.
func (w *fixture) logged(b *berth, words ...string) {
	w.t.Helper()
	harness.Eventually(w.t, 20*time.Second, fmt.Sprintf("the log has %q", words), func() error {
		text, err := os.ReadFile(b.log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return nil
			}
		}
		return errors.New("there is no such line")
	})
}
