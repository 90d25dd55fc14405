// Package e2e_test drives the real binary: guard in front of a real engine, serve behind it, and HTTP from outside.
// Whatever a test needs it makes, in directories and on ports of its own.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"berth/internal/dockertest"
	"berth/internal/session"
)

// build makes the binary once for all tests; its directory goes when the test program ends.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "berth-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "berth")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "berth/cmd/berth")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build berth: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// world is one installation of Berth.
type world struct {
	t        *testing.T
	dir      string
	certs    string
	engine   string // DOCKER_HOST of serve: the guard
	instance string
	env      map[string]string
	url      string
	serve    *process
}

// newWorld has certificates and a guard in front of the test engine. Everything that is made on the engine under its
// instance label is removed at the end.
func newWorld(t *testing.T) *world {
	t.Helper()
	socket := strings.TrimPrefix(dockertest.Engine(t), "unix://")
	w := &world{t: t, dir: t.TempDir(), instance: dockertest.Instance(t)}
	w.certs = filepath.Join(w.dir, "certs")
	state := filepath.Join(w.dir, "state")
	must(t, os.Mkdir(state, 0o700))
	must(t, os.WriteFile(filepath.Join(state, "instance"), []byte(w.instance+"\n"), 0o600))
	w.run("certs", "init", "--dir", w.certs)

	address := freeAddress(t)
	w.engine = "tcp://" + address
	w.env = map[string]string{
		"DOCKER_HOST": w.engine, "DOCKER_CERT_PATH": w.certs, "DOCKER_NETWORK": w.instance,
		"BERTH_STATE_DIR": state, "BERTH_LISTEN": freeAddress(t), "BERTH_DRAIN_TIMEOUT": "5", "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json",
		"MAX_CONCURRENT_SESSIONS": "50", "CONTAINER_MEMORY_LIMIT": "1g", "RECONCILE_INTERVAL": "2",
	}
	w.url = "http://" + w.env["BERTH_LISTEN"]
	guard := w.start("guard", map[string]string{
		"BERTH_GUARD_LISTEN": w.engine, "BERTH_GUARD_SOCKET": socket, "DOCKER_CERT_PATH": w.certs,
	}, "guard")
	eventually(t, 10*time.Second, "the guard listens", func() error {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return errors.Join(err, guard.failure())
		}
		return conn.Close()
	})
	return w
}

// profiles gives serve a configuration file with these image profiles beside the built-in one.
func (w *world) profiles(profiles map[string]session.Profile) {
	w.t.Helper()
	text, err := yaml.Marshal(map[string]any{"profiles": profiles})
	must(w.t, err)
	file := filepath.Join(w.dir, "berth.yaml")
	must(w.t, os.WriteFile(file, text, 0o600))
	w.env["BERTH_CONFIG"] = file
}

// startServe starts serve and waits until it is ready.
func (w *world) startServe() {
	w.t.Helper()
	w.serve = w.start("serve", w.env, "serve")
	eventually(w.t, 30*time.Second, "serve is ready", func() error {
		resp, err := http.Get(w.url + "/readyz")
		if err != nil {
			return errors.Join(err, w.serve.failure())
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz answers %s", resp.Status)
		}
		return nil
	})
}

// run runs a short command and returns what it wrote to standard output.
func (w *world) run(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), binary(w.t), args...)
	cmd.Env = w.environ(w.env)
	cmd.Dir = w.dir
	out, err := cmd.Output()
	if err != nil {
		exit := &exec.ExitError{}
		errors.As(err, &exit)
		w.t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out)
}

func (w *world) environ(env map[string]string) []string {
	environ := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		environ = append(environ, name+"="+env[name])
	}
	return environ
}

func (w *world) adminToken() string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.env["BERTH_STATE_DIR"], "admin-token"))
	must(w.t, err)
	return strings.TrimSpace(string(text))
}

// process is a berth that runs in the background.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func (w *world) start(name string, env map[string]string, args ...string) *process {
	w.t.Helper()
	p := &process{name: name, log: filepath.Join(w.dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(w.t, err)
	p.cmd = exec.Command(binary(w.t), args...)
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = w.environ(env), w.dir, out, out
	must(w.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		_ = out.Close()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		if w.t.Failed() {
			text, _ := os.ReadFile(p.log)
			w.t.Logf("the log of %s ends with:\n%s", name, text[max(0, len(text)-8000):])
		}
	})
	return p
}

// signal sends a signal and waits until the process has ended.
func (p *process) signal(s os.Signal) {
	_ = p.cmd.Process.Signal(s)
	<-p.done
}

// failure says that the process has ended, if it has.
func (p *process) failure() error {
	select {
	case <-p.done:
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s has ended: %s", p.name, text)
	default:
		return nil
	}
}

// answer is what an HTTP request brought.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body)) }

func (a answer) field(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(a.body, &fields)
	text, _ := fields[name].(string)
	return text
}

// call makes a request with a token; "" sends none.
func (w *world) call(method, path, token, body string) answer {
	w.t.Helper()
	a, err := w.try(w.t.Context(), method, path, token, body)
	must(w.t, err)
	return a
}

func (w *world) try(ctx context.Context, method, path, token, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, text}, err
}

// create makes a session and fails the test when that fails.
func (w *world) create(body string) (id, token string) {
	w.t.Helper()
	a := w.call(http.MethodPost, "/sessions", w.adminToken(), body)
	if a.status != http.StatusCreated {
		w.t.Fatalf("create a session: got %s, want 201", a)
	}
	return a.field("session_id"), a.field("token")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually tries until it works or the time is up, and then says what it saw last.
func eventually(t *testing.T, within time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", within, what, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// freeAddress returns an address of the loopback interface that nobody listens on at this moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
