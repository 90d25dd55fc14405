// Package commands_test runs the project's commands as a new user does, in a copy of the checkout.
package commands_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/dockertest"
	"berth/internal/tlstest"
	"berth/test/harness"
)

// checkout is a copy of the project's files, as git knows them, with commands that find their own ports and engine.
type checkout struct {
	t   *testing.T
	dir string
	env []string
}

func newCheckout(t *testing.T, env ...string) *checkout {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatalf("find the checkout: %v", err)
	}
	c := &checkout{t: t, dir: t.TempDir()}
	list := exec.CommandContext(t.Context(), "sh", "-c",
		`git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c 'for f; do [ -e "$f" ] && cp -a --parents "$f" "$0"; done; :' "$TO"`)
	list.Dir = strings.TrimSpace(string(root))
	list.Env = append(os.Environ(), "TO="+c.dir)
	if out, err := list.CombinedOutput(); err != nil {
		t.Fatalf("copy the checkout: %v\n%s", err, out)
	}
	c.env = append(os.Environ(), "BERTH_LISTEN="+harness.FreeAddress(t), "DETACH=1", "FIREWALL=none", "RESOURCE_CRITICAL_THRESHOLD=1") // tests keep machines busy
	c.env = append(c.env, env...)
	return c
}

// make runs a target and returns what it wrote to standard output.
func (c *checkout) make(target string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", target)
	cmd.Dir, cmd.Env = c.dir, c.env
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("make %s: %v\n%s\n%s", target, err, out, said.Bytes())
	}
	return string(out)
}

// promised reads the lines that `make run DETACH=1` ends with.
func promised(t *testing.T, out string) map[string]string {
	t.Helper()
	lines := map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(name, "BERTH_") {
			lines[name] = value
		}
	}
	for _, name := range []string{"BERTH_URL", "BERTH_SESSION", "BERTH_TOKEN", "BERTH_ADMIN_TOKEN_FILE"} {
		if lines[name] == "" {
			t.Fatalf("make run promised %s and did not say it:\n%s", name, out)
		}
	}
	return lines
}

func healthy(lines map[string]string) error {
	req, err := http.NewRequest(http.MethodGet, lines["BERTH_URL"]+"/s/"+lines["BERTH_SESSION"]+"/global/health", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+lines["BERTH_TOKEN"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"healthy":true`) {
		return fmt.Errorf("the session answers %s %s", resp.Status, body)
	}
	return nil
}

func TestMakeRunOnAnEngine(t *testing.T) {
	t.Parallel()
	if os.Getenv("BERTH_TEST_OPENCODE_IMAGE") == "" {
		skip(t, "needs the session image: set BERTH_TEST_OPENCODE_IMAGE to its name")
	}
	instance := dockertest.Instance(t)
	socket := strings.TrimPrefix(dockertest.Engine(t), "unix://")
	c := newCheckout(t, "DOCKER_SOCKET="+socket, "DOCKER_NETWORK="+instance)
	state := filepath.Join(c.dir, ".berth", "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "instance"), []byte(instance), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.make("stop") })

	first := promised(t, c.make("run"))
	if err := healthy(first); err != nil {
		t.Error(err)
	}
	if token, err := os.ReadFile(first["BERTH_ADMIN_TOKEN_FILE"]); err != nil || len(token) < 16 {
		t.Errorf("the admin token's file: %d bytes, %v", len(token), err)
	}
	c.make("stop")
	if err := healthy(first); err == nil {
		t.Error("Berth answers after make stop")
	}
	again := promised(t, c.make("run"))
	if again["BERTH_SESSION"] != first["BERTH_SESSION"] || again["BERTH_TOKEN"] != first["BERTH_TOKEN"] {
		t.Errorf("the second run has session %s, want %s with the same token", again["BERTH_SESSION"], first["BERTH_SESSION"])
	}
	if err := healthy(again); err != nil {
		t.Error(err)
	}
}

// list runs the checkout's own berth as somebody who has just read the last line of make run does: with nothing in the
// environment, in a directory that has a state of its own to lead astray.
func (c *checkout) list() string {
	c.t.Helper()
	elsewhere := c.t.TempDir()
	decoy := filepath.Join(elsewhere, ".berth", "state")
	if err := os.MkdirAll(decoy, 0o700); err != nil {
		c.t.Fatal(err)
	}
	for name, text := range map[string]string{"admin-token": "decoy-decoy-decoy-decoy", "address": "http://127.0.0.1:1"} {
		if err := os.WriteFile(filepath.Join(decoy, name), []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(c.dir, "bin", "berth"), "session", "list")
	cmd.Dir, cmd.Env = elsewhere, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + elsewhere}
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Errorf("bin/berth session list: %v\n%s", err, out)
	}
	return string(out)
}

// settings is what the checkout's berth takes for its settings, with nothing in the environment.
func (c *checkout) settings() string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(c.dir, "bin", "berth"), "config", "show")
	cmd.Dir, cmd.Env = c.t.TempDir(), []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Errorf("bin/berth config show: %v\n%s", err, out)
	}
	return string(out)
}

// processCheckout is one where no engine can run. It is cleaned at the end.
func processCheckout(t *testing.T) *checkout {
	t.Helper()
	program := os.Getenv("BERTH_TEST_OPENCODE")
	if program == "" {
		skip(t, "needs OpenCode's program: set BERTH_TEST_OPENCODE to its path")
	}
	c := newCheckout(t, "BERTH_ENGINE=none")
	// Fetched already: what the registry is asked for is the business of make test.
	if err := os.CopyFS(filepath.Join(c.dir, ".berth", "opencode"), os.DirFS(filepath.Dir(program))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.make("clean") })
	return c
}

func TestMakeRunWhereNoEngineCanRun(t *testing.T) {
	t.Parallel()
	c := processCheckout(t)
	said := c.make("run")
	lines := promised(t, said)
	if err := healthy(lines); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said, "bin/berth session list") {
		t.Errorf("make run does not say how to use the command line:\n%s", said)
	}
	if out := c.list(); !strings.Contains(out, lines["BERTH_SESSION"]) {
		t.Errorf("bin/berth session list does not have %s:\n%s", lines["BERTH_SESSION"], out)
	}
	if out := c.settings(); !strings.Contains(out, "runtime: process") || !strings.Contains(out, filepath.Join(c.dir, ".berth", "state")) {
		t.Errorf("bin/berth has other settings than make run:\n%s", out)
	}
	c.make("clean")
	for _, made := range []string{".berth", "bin"} {
		if _, err := os.Stat(filepath.Join(c.dir, made)); err == nil {
			t.Errorf("make clean left %s", made)
		}
	}
}

func TestMakeRunWithTLS(t *testing.T) {
	t.Parallel()
	c := processCheckout(t)
	cert, key := tlstest.New(t).Files(t, "berth.example")
	c.env = append(c.env, "BERTH_TLS_CERT="+cert, "BERTH_TLS_KEY="+key)
	first := promised(t, c.make("run"))
	if !strings.HasPrefix(first["BERTH_URL"], "https://") {
		t.Errorf("address: got %s", first["BERTH_URL"])
	}
	if out := c.list(); !strings.Contains(out, first["BERTH_SESSION"]) {
		t.Errorf("bin/berth session list does not have %s:\n%s", first["BERTH_SESSION"], out)
	}
	again := promised(t, c.make("run"))
	if again["BERTH_SESSION"] != first["BERTH_SESSION"] || again["BERTH_TOKEN"] != first["BERTH_TOKEN"] {
		t.Errorf("the second run has session %s, want %s with the same token", again["BERTH_SESSION"], first["BERTH_SESSION"])
	}
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
