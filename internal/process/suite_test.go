package process_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"berth/internal/access"
	"berth/internal/process"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/waittest"
)

// stub is the path of test/stubserver's program: the one that stubVariable names, or one that is built for these tests.
var stub string

const stubVariable = "BERTH_TEST_STUB"

// helperDir, when set in the environment, makes this program a Berth that is killed; see beKilled.
const helperDir = "BERTH_TEST_PROCESS_DIR"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if dir := os.Getenv(helperDir); dir != "" {
		return beKilled(dir)
	}
	if dir := os.Getenv(idleDir); dir != "" {
		return beIdle(dir)
	}
	dir, err := os.MkdirTemp("", "berth-process-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if stub = os.Getenv(stubVariable); stub == "" {
		stub = filepath.Join(dir, "stubserver")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", stub, "berth/test/stubserver")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the stub server:", err)
			return 1
		}
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func spec(name string) session.Spec {
	return session.Spec{
		Session: session.NewID(), Name: name, Image: "berth/stub:test", Credential: access.NewToken(24),
		Limits: session.Limits{Memory: 512 << 20, CPUs: session.OneCPU, Processes: 64},
		Profile: session.Profile{
			Image: "berth/stub:test", Port: 4096, UID: 10001, GID: 10001,
			Username: "opencode", PasswordEnv: "OPENCODE_SERVER_PASSWORD",
			Ready:   session.Probe{Path: "/global/health", Member: "healthy", Then: "/path"},
			Volumes: []session.Volume{{Name: "workspace", Path: "/workspace"}, {Name: "state", Path: "/home/stub/.local/share/stub"}},
			Env:     map[string]string{"STUB_HEARTBEAT": "1s"},
			// exec replaces the shell; the state is found through HOME, as in a container.
			Command: []string{"/bin/sh", "-c", `STUB_STATE="$HOME/.local/share/stub" exec "$0" --hostname 127.0.0.1 --port {port}`, stub},
		},
	}
}

// open returns a runtime. Its servers end with the test.
func open(t *testing.T, dir string) *process.Runtime {
	t.Helper()
	return openWith(t, process.Options{Dir: dir, Instance: "test"})
}

func openWith(t *testing.T, opts process.Options) *process.Runtime {
	t.Helper()
	r, err := process.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		all, err := r.List(ctx)
		if session.CodeOf(err) == session.CodeEngineUnavailable {
			return // the test has closed it
		}
		for _, c := range all {
			if err := r.Remove(ctx, c.ID, true); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

func TestRuntimeSuite(t *testing.T) {
	t.Parallel()
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject {
		return runtimetest.Subject{Runtime: open(t, t.TempDir()), Other: open(t, t.TempDir()), Spec: spec, NoImages: true, NoLimits: true}
	})
}

func TestOpenWarnsThatNothingIsIsolated(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	openWith(t, process.Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&text, nil))})
	if !bytes.Contains(text.Bytes(), []byte("level=WARN")) || !bytes.Contains(text.Bytes(), []byte("nothing is isolated")) {
		t.Errorf("got %q, want a warning that nothing is isolated", text.String())
	}
}

func TestDirectoryHasOneUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, dir)
	if _, err := process.Open(t.Context(), process.Options{Dir: dir}); session.CodeOf(err) != session.CodeConflict {
		t.Errorf("got %v, want code %q: two would end each other's servers", err, session.CodeConflict)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Ping(t.Context()); session.CodeOf(err) != session.CodeEngineUnavailable {
		t.Errorf("got %v after Close, want code %q", err, session.CodeEngineUnavailable)
	}
	open(t, dir)
}

func TestCreateRefusesInvalidSpecs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir)
	for name, k := range map[string]struct {
		change func(*session.Spec)
		want   session.Code
	}{
		"a program that is not installed": {func(s *session.Spec) { s.Profile.Command = []string{"no-such-program-here"} }, session.CodeImageNotFound},
		"no command":                      {func(s *session.Spec) { s.Profile.Command = nil }, session.CodeImageNotFound},
		"no credential":                   {func(s *session.Spec) { s.Credential = "" }, session.CodeInvalid},
		"a name that leaves the place":    {func(s *session.Spec) { s.Name = "../outside" }, session.CodeInvalid},
		"a volume that leaves the place":  {func(s *session.Spec) { s.Profile.Volumes[0].Name = "../../outside" }, session.CodeInvalid},
	} {
		s := spec("a")
		k.change(&s)
		if _, err := r.Create(t.Context(), s); session.CodeOf(err) != k.want {
			t.Errorf("%s: got %v, want code %q", name, err, k.want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "containers")); err != nil || len(left) != 0 {
		t.Errorf("got %v (%v), want nothing: failed creates leave no container", left, err)
	}
	if err := r.RemoveVolumes(t.Context(), "../containers"); err != nil {
		t.Errorf("got %v, want nil: there can be no such volumes", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "containers")); err != nil {
		t.Errorf("a name escaped the volumes' directory: %v", err)
	}
}

func TestCheckImageRefusesOtherImages(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir())
	s := spec("a")
	err := r.CheckImage(t.Context(), s.Profile, "foo:1")
	if session.CodeOf(err) != session.CodeInvalid || !strings.Contains(session.MessageOf(err), "leave the image out") {
		t.Errorf("got %v, want code %q and what to do: there are no images here", err, session.CodeInvalid)
	}
	if err := r.CheckImage(t.Context(), s.Profile, s.Profile.Image); err != nil {
		t.Errorf("the profile's own image: got %v", err)
	}
}

func TestOptionsCommandOverridesProfile(t *testing.T) {
	t.Parallel()
	r := openWith(t, process.Options{Dir: t.TempDir(), Command: []string{"/bin/sh", "-c", "echo from $PWD to {workspace}; exit 5"}})
	s := spec("a")
	s.Profile.Command = nil
	made, err := r.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	start(t, r, "a")
	waittest.True(t, "the exit", func() bool { return inspect(t, r, "a").State == session.StateStopped })
	if got := inspect(t, r, "a").ExitCode; got != 5 {
		t.Errorf("got exit code %d, want 5", got)
	}
	if got, want := logs(t, r, "a"), fmt.Sprintf("from %[1]s to %[1]s\n", made.HostDir); got != want {
		t.Errorf("got %q, want %q: the server works in the workspace", got, want)
	}
}

func TestFailedStartIsExplained(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir())
	program := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(program, []byte("neither a program nor a script"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := spec("a")
	s.Profile.Env = maps.Clone(s.Profile.Env)
	s.Profile.Command = []string{program}
	if _, err := r.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), "a"); session.CodeOf(err) != session.CodeStartFailed {
		t.Errorf("got %v, want code %q", err, session.CodeStartFailed)
	}
	if c := inspect(t, r, "a"); c.State != session.StateStopped || !c.StartedAt.IsZero() || c.Fault == "" {
		t.Errorf("got %+v, want a container that never ran, with a fault", c)
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), "a"); session.CodeOf(err) != session.CodeStartFailed {
		t.Errorf("without the program: got %v, want code %q", err, session.CodeStartFailed)
	}
}
