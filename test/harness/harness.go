// Package harness runs the real binary for tests and benchmarks: guard in front of a real engine, serve behind it, in
// directories and on ports of their own.
//
// It knows processes, files and HTTP. It does not know the tests.
package harness

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
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"berth/internal/dockertest"
	"berth/internal/session"
)

// Env is one installation of Berth.
type Env struct {
	Dir      string
	Engine   string            // DOCKER_HOST of serve: the guard
	Instance string            // label of what is made on the engine
	Vars     map[string]string // of serve and of short commands
	URL      string
	Client   *http.Client // of the test's own requests
	Guard    *Process
	Serve    *Process // nil before StartServe

	name   string // of serve, among siblings
	socket string // of the test engine
	certs  string
	t      testing.TB
}

// In is the same installation for a subtest, which is the one that fails when a call does.
func (w *Env) In(t testing.TB) *Env {
	own := *w
	own.t = t
	return &own
}

// New returns an installation with certificates and a guard in front of the test engine. Everything that is made on the engine
// under its instance label is removed at the end.
func New(t testing.TB) *Env {
	t.Helper()
	w := &Env{t: t, name: "serve", Dir: t.TempDir(), Instance: dockertest.Instance(t), socket: strings.TrimPrefix(dockertest.Engine(t), "unix://")}
	w.certs = filepath.Join(w.Dir, "certs")
	state := filepath.Join(w.Dir, "state")
	Must(t, os.Mkdir(state, 0o700))
	Must(t, os.WriteFile(filepath.Join(state, "instance"), []byte(w.Instance+"\n"), 0o600))
	w.Run("certs", "init", "--dir", w.certs)

	w.Engine = "tcp://" + FreeAddress(t)
	w.Vars = map[string]string{
		"DOCKER_HOST": w.Engine, "DOCKER_CERT_PATH": w.certs, "DOCKER_NETWORK": w.Instance,
		"BERTH_STATE_DIR": state, "BERTH_LISTEN": FreeAddress(t), "BERTH_DRAIN_TIMEOUT": "5", "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json",
		"MAX_CONCURRENT_SESSIONS": "50", "CONTAINER_MEMORY_LIMIT": "1g", "RECONCILE_INTERVAL": "2",
		"ALLOWED_IMAGES":              "*", // tests build their own
		"RESOURCE_CRITICAL_THRESHOLD": "1", // the tests themselves load the machine
	}
	w.URL, w.Client = "http://"+w.Vars["BERTH_LISTEN"], http.DefaultClient
	w.StartGuard()
	return w
}

// StartGuard starts the guard and waits until it listens.
func (w *Env) StartGuard() {
	w.t.Helper()
	w.Guard = w.Start("guard", map[string]string{
		"BERTH_GUARD_LISTEN": w.Engine, "BERTH_GUARD_SOCKET": w.socket, "DOCKER_CERT_PATH": w.certs,
	}, "guard")
	Eventually(w.t, 10*time.Second, "the guard listens", func() error {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(w.Engine, "tcp://"), time.Second)
		if err != nil {
			return errors.Join(err, w.Guard.failure())
		}
		return conn.Close()
	})
}

// Profiles gives serve a configuration file with these image profiles beside the built-in one.
func (w *Env) Profiles(profiles map[string]session.Profile) {
	w.t.Helper()
	w.Configure(map[string]any{"profiles": profiles})
}

// Configure gives serve a configuration file with these sections.
func (w *Env) Configure(sections map[string]any) {
	w.t.Helper()
	text, err := yaml.Marshal(sections)
	Must(w.t, err)
	file := filepath.Join(w.Dir, "berth.yaml")
	Must(w.t, os.WriteFile(file, text, 0o600))
	w.Vars["BERTH_CONFIG"] = file
}

// StartServe starts serve and waits until it is ready.
func (w *Env) StartServe() {
	w.t.Helper()
	w.LaunchServe()
	Eventually(w.t, 30*time.Second, w.name+" is ready", func() error {
		resp, err := w.Client.Get(w.URL + "/readyz")
		if err != nil {
			return errors.Join(err, w.Serve.failure())
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz answers %s", resp.Status)
		}
		return nil
	})
}

// LaunchServe starts serve and waits for nothing.
func (w *Env) LaunchServe() {
	w.t.Helper()
	w.Serve = w.Start(w.name, w.Vars, "serve")
}

// Run runs a short command and returns what it wrote to standard output.
func (w *Env) Run(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), Binary(w.t), args...)
	cmd.Env = w.environ(w.Vars)
	cmd.Dir = w.Dir
	out, err := cmd.Output()
	if err != nil {
		exit := &exec.ExitError{}
		errors.As(err, &exit)
		w.t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out)
}

func (w *Env) environ(env map[string]string) []string {
	// The settings of this machine's own Berth must not affect the tests.
	environ := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.Dir, "BERTH_CONFIG=" + os.DevNull}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		environ = append(environ, name+"="+env[name])
	}
	return environ
}

// AdminToken returns the token that serve was given, or has made for itself.
func (w *Env) AdminToken() string {
	w.t.Helper()
	if token := w.Vars["BERTH_ADMIN_TOKEN"]; token != "" {
		return token
	}
	text, err := os.ReadFile(filepath.Join(w.Vars["BERTH_STATE_DIR"], "admin-token"))
	Must(w.t, err)
	return strings.TrimSpace(string(text))
}

// Process is a berth that runs in the background.
type Process struct {
	Name string
	Cmd  *exec.Cmd
	Log  string        // path of what it wrote
	Done chan struct{} // closed when it has ended
}

// Start runs a berth in the background with this environment and nothing else. It is killed when the test ends, and its
// log shown if the test has failed.
func (w *Env) Start(name string, env map[string]string, args ...string) *Process {
	w.t.Helper()
	p := &Process{Name: name, Log: filepath.Join(w.Dir, name+".log"), Done: make(chan struct{})}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	Must(w.t, err)
	p.Cmd = exec.Command(Binary(w.t), args...)
	p.Cmd.Env, p.Cmd.Dir, p.Cmd.Stdout, p.Cmd.Stderr = w.environ(env), w.Dir, out, out
	Must(w.t, p.Cmd.Start())
	go func() {
		_ = p.Cmd.Wait()
		_ = out.Close()
		close(p.Done)
	}()
	w.t.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		if w.t.Failed() {
			text, _ := os.ReadFile(p.Log)
			w.t.Logf("the log of %s ends with:\n%s", name, text[max(0, len(text)-8000):])
		}
	})
	return p
}

// Signal sends a signal and waits until the process has ended.
func (p *Process) Signal(s os.Signal) {
	_ = p.Cmd.Process.Signal(s)
	<-p.Done
}

// failure returns an error if the process has ended.
func (p *Process) failure() error {
	select {
	case <-p.Done:
		text, _ := os.ReadFile(p.Log)
		return fmt.Errorf("%s has ended: %s", p.Name, text)
	default:
		return nil
	}
}

// Answer is the response to an HTTP request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// String is for messages of tests.
func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, bytes.TrimSpace(a.Body)) }

// Field returns a text member of the JSON object in the body; "" when there is none.
func (a Answer) Field(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(a.Body, &fields)
	text, _ := fields[name].(string)
	return text
}

// Call makes a request with a token; "" sends none.
func (w *Env) Call(method, path, token, body string) Answer {
	w.t.Helper()
	a, err := w.Try(w.t.Context(), method, path, token, body)
	Must(w.t, err)
	return a
}

// CallWith is like [Env.Call] with more headers.
func (w *Env) CallWith(method, path, token, body string, header http.Header) Answer {
	w.t.Helper()
	a, err := w.TryWith(w.t.Context(), method, path, token, body, header)
	Must(w.t, err)
	return a
}

// Try makes a request with a token and reads the whole answer.
func (w *Env) Try(ctx context.Context, method, path, token, body string) (Answer, error) {
	return w.TryWith(ctx, method, path, token, body, nil)
}

// TryWith is like [Env.Try] with more headers.
func (w *Env) TryWith(ctx context.Context, method, path, token, body string, header http.Header) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.URL+path, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	maps.Copy(req.Header, header)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, text}, err
}

// Create makes a session and fails the test when that fails.
func (w *Env) Create(body string) (id, token string) {
	w.t.Helper()
	a := w.Call(http.MethodPost, "/sessions", w.AdminToken(), body)
	if a.Status != http.StatusCreated {
		w.t.Fatalf("create a session: got %s, want 201", a)
	}
	return a.Field("session_id"), a.Field("token")
}

// Must fails the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Limits of ten seconds and more are for a machine that does nothing else. They only end a wait that is in vain, so that on a machine
// that runs other tests they may be longer; shorter ones are what a test is about.
const (
	patient  = 10 * time.Second
	patience = 4
)

// Eventually retries until try succeeds or the time has passed, and then fails with the last error. A limit of ten seconds or more is
// four times as long.
func Eventually(t testing.TB, within time.Duration, what string, try func() error) {
	t.Helper()
	if within >= patient {
		within *= patience
	}
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
