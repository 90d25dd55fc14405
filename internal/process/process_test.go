package process_test

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/process"
	"berth/internal/session"
	"berth/internal/waittest"
)

func inspect(t *testing.T, r *process.Runtime, name string) session.Container {
	t.Helper()
	c, err := r.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, r *process.Runtime, name string) {
	t.Helper()
	if err := r.Start(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func logs(t *testing.T, r *process.Runtime, name string) string {
	t.Helper()
	log, err := r.Logs(t.Context(), name, session.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	text, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask returns the JSON that the server answers, or nil when it does not answer.
func ask(t *testing.T, s session.Spec, address, method, path string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(s.Profile.Username, s.Credential.Reveal())
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	var object map[string]any
	if json.NewDecoder(answer.Body).Decode(&object) != nil {
		return nil
	}
	return object
}

// serve creates and starts a container and waits until its server answers.
func serve(t *testing.T, r *process.Runtime, s session.Spec) session.Container {
	t.Helper()
	if _, err := r.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	start(t, r, s.Name)
	c := inspect(t, r, s.Name)
	waittest.True(t, "the server answers", func() bool {
		healthy, _ := ask(t, s, c.Address, "GET", "/global/health")["healthy"].(bool)
		return healthy
	})
	return c
}

// alive reports whether the process exists and has not ended.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestServerEnvironmentIsItsOwn(t *testing.T) {
	t.Setenv("BERTH_TEST_ADMIN_TOKEN", "not for servers")
	s := spec("a")
	c := serve(t, open(t, t.TempDir()), s)
	var got []string
	names, _ := ask(t, s, c.Address, "GET", "/env")["env"].([]any)
	for _, name := range names {
		text, _ := name.(string)
		got = append(got, text)
	}
	slices.Sort(got)
	want := []string{
		"BERTH_CONTAINER", "HOME", "LANG", "OPENCODE_SERVER_PASSWORD", "PATH", "PWD", "SHELL", "STUB_HEARTBEAT",
		"STUB_STATE", "TMPDIR", // the command sets STUB_STATE, the shell PWD
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the server's environment (-want +got):\n%s", diff)
	}
}

func TestCredentialIsNeitherOnDiskNorInArguments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := spec("a")
	c := serve(t, open(t, dir), s)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), s.Credential.Reveal()) {
			t.Errorf("%s has the credential in it", path)
		}
		if info, err := e.Info(); err == nil && info.Mode().Perm()&0o077 != 0 && e.Name() != "sessions.json" {
			t.Errorf("%s has mode %v, want it for its owner alone", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := ask(t, s, c.Address, "GET", "/env")["pid"].(float64)
	arguments, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(pid)), "cmdline"))
	if err != nil || len(arguments) == 0 {
		t.Fatalf("read the arguments of process %v: %v", pid, err)
	}
	if strings.Contains(string(arguments), s.Credential.Reveal()) {
		t.Errorf("the arguments %q have the credential in them", arguments)
	}
}

func TestServerEndKillsItsChildren(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *process.Runtime, session.Spec, session.Container) error{
		"stopped": func(t *testing.T, r *process.Runtime, _ session.Spec, c session.Container) error {
			return r.Stop(t.Context(), c.ID, 10*time.Second)
		},
		"removed": func(t *testing.T, r *process.Runtime, _ session.Spec, c session.Container) error {
			return r.Remove(t.Context(), c.ID, true)
		},
		"crashed": func(t *testing.T, r *process.Runtime, s session.Spec, c session.Container) error {
			pid, _ := ask(t, s, c.Address, "GET", "/env")["pid"].(float64)
			return syscall.Kill(int(pid), syscall.SIGKILL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := open(t, t.TempDir())
			s := spec("a")
			// One in the server's process group without its environment, one in a session of its own as terminals are.
			s.Profile.Command = []string{"/bin/sh", "-c", `env -i sleep 1000 & echo $! >near; setsid sleep 1000 & echo $! >far
				STUB_STATE={state} exec "$0" --hostname 127.0.0.1 --port {port}`, stub}
			c := serve(t, r, s)
			var pids []int
			for _, file := range []string{"near", "far"} {
				text, err := os.ReadFile(filepath.Join(c.HostDir, file))
				if err != nil {
					t.Fatal(err)
				}
				pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
				if err != nil || !alive(t, pid) {
					t.Fatalf("%s: process %d does not run (%v)", file, pid, err)
				}
				pids = append(pids, pid)
			}
			if got, err := r.Stats(t.Context(), c.ID); err != nil || got.PIDs < 3 {
				t.Errorf("got %+v (%v), want the server's threads and the child that is its own counted", got, err)
			}
			if err := end(t, r, s, c); err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				waittest.True(t, "the end of a child", func() bool { return !alive(t, pid) })
			}
			if name == "crashed" {
				waittest.True(t, "the exit", func() bool { return inspect(t, r, "a").State == session.StateStopped })
				if got := inspect(t, r, "a").ExitCode; got != 137 {
					t.Errorf("got exit code %d, want 137: SIGKILL ended it", got)
				}
			}
		})
	}
}

func TestRemoveDeletesReadOnlyDirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir)
	c, err := r.Create(t.Context(), spec("a"))
	if err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(c.HostDir, "module")
	if err := os.Mkdir(module, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(module, "file"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(module, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), "a", false); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveVolumes(t.Context(), "a"); err != nil {
		t.Errorf("got %v, want nil: a user may make such directories", err)
	}
	for _, sub := range []string{"volumes", "trash", "containers"} {
		if left, err := os.ReadDir(filepath.Join(dir, sub)); err != nil || len(left) != 0 {
			t.Errorf("%s: got %v (%v), want nothing left", sub, left, err)
		}
	}
}
