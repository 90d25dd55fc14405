package commands_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/test/harness"
)

// imageEntrypoint is the entry point of the session image. Its tests run it with an opencode that prints its arguments.
type imageEntrypoint struct {
	t         *testing.T
	script    string
	workspace string
	path      string // PATH: a directory with the fake opencode, then the usual ones
}

func newEntrypoint(t *testing.T) imageEntrypoint {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	script, err := filepath.Abs("../../docker/opencode/entrypoint")
	harness.Must(t, err)
	bin := t.TempDir()
	harness.Must(t, os.WriteFile(filepath.Join(bin, "opencode"), []byte("#!/bin/sh\necho \"opencode $*\"\n"), 0o700))
	return imageEntrypoint{t: t, script: script, workspace: t.TempDir(), path: bin + ":/usr/bin:/bin"}
}

// run starts the session's server as the image does, and fails unless the server got its arguments.
func (e imageEntrypoint) run() {
	e.t.Helper()
	cmd := exec.Command(e.script, "serve", "--port", "4096")
	cmd.Dir, cmd.Env = e.workspace, []string{"PATH=" + e.path, "HOME=" + e.t.TempDir()}
	out, err := cmd.Output()
	if want := "opencode serve --port 4096\n"; err != nil || string(out) != want {
		e.t.Fatalf("got %q and error %v, want the server's %q", out, err, want)
	}
}

// git returns what git prints in the workspace.
func (e imageEntrypoint) git(args ...string) string {
	e.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = e.workspace, []string{"PATH=" + e.path, "HOME=" + e.t.TempDir()}
	out, err := cmd.Output()
	if err != nil {
		e.t.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// isNew fails unless the workspace holds a repository without a commit, on the branch main, and nothing else.
func (e imageEntrypoint) isNew() {
	e.t.Helper()
	if got, want := e.files(), []string{".git"}; !cmp.Equal(got, want) {
		e.t.Errorf("the workspace holds %q, want %q", got, want)
	}
	if got := e.git("symbolic-ref", "HEAD"); got != "refs/heads/main" {
		e.t.Errorf("got HEAD %q, want the branch main", got)
	}
	if got := e.git("rev-list", "--all", "--count"); got != "0" {
		e.t.Errorf("got %s commits, want none: nobody has made one", got)
	}
	if got := e.git("config", "--list", "--local"); strings.Contains(got, "user.") {
		e.t.Errorf("the repository names an author, whom nobody has given:\n%s", got)
	}
}

func (e imageEntrypoint) files() []string {
	e.t.Helper()
	entries, err := os.ReadDir(e.workspace)
	harness.Must(e.t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func (e imageEntrypoint) write(name, text string) {
	e.t.Helper()
	file := filepath.Join(e.workspace, name)
	harness.Must(e.t, os.MkdirAll(filepath.Dir(file), 0o700))
	harness.Must(e.t, os.WriteFile(file, []byte(text), 0o600))
}

func TestEntrypointMakesEmptyWorkspaceRepository(t *testing.T) {
	t.Parallel()
	e := newEntrypoint(t)
	e.run()
	e.isNew()
	e.write("a.txt", "a")
	e.git("add", "a.txt")
	index, err := os.ReadFile(filepath.Join(e.workspace, ".git/index"))
	harness.Must(t, err)
	e.run()
	if again, err := os.ReadFile(filepath.Join(e.workspace, ".git/index")); err != nil || string(again) != string(index) {
		t.Errorf("the second start changed the repository: %v", err)
	}
}

func TestEntrypointLeavesUsedWorkspaceAlone(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"a file": "a.txt", "a hidden file": ".env", "a repository of the user's": ".git/HEAD", "a submodule's link": ".git",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEntrypoint(t)
			e.write(file, "mine")
			before := e.files()
			e.run()
			if diff := cmp.Diff(before, e.files()); diff != "" {
				t.Errorf("the workspace has changed (-before +after):\n%s", diff)
			}
			if text, err := os.ReadFile(filepath.Join(e.workspace, file)); err != nil || string(text) != "mine" {
				t.Errorf("got %q and error %v, want the file as it was", text, err)
			}
		})
	}
}

func TestEntrypointFinishesInterruptedRepository(t *testing.T) {
	t.Parallel()
	t.Run("killed before the repository was in its place", func(t *testing.T) {
		t.Parallel()
		e := newEntrypoint(t)
		e.write(".git-init.part/.git/HEAD.lock", "ref: ")
		e.run()
		e.isNew()
	})
	t.Run("killed afterwards", func(t *testing.T) {
		t.Parallel()
		e := newEntrypoint(t)
		e.run()
		harness.Must(t, os.Mkdir(filepath.Join(e.workspace, ".git-init.part"), 0o700))
		e.run()
		e.isNew()
	})
	t.Run("the name is a directory of the user's", func(t *testing.T) {
		t.Parallel()
		e := newEntrypoint(t)
		e.write("a.txt", "a")
		e.write(".git-init.part/mine", "mine")
		e.run()
		if diff := cmp.Diff([]string{".git-init.part", "a.txt"}, e.files()); diff != "" {
			t.Errorf("the workspace has changed (-want +got):\n%s", diff)
		}
	})
}

// A full disk, a directory of another user or an image without git must not keep the server from starting.
func TestEntrypointStartsServerWithoutRepository(t *testing.T) {
	t.Parallel()
	e := newEntrypoint(t)
	bin := strings.TrimSuffix(e.path, ":/usr/bin:/bin")
	harness.Must(t, os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\nfor last; do :; done; mkdir \"$last\"; echo full >&2; exit 1\n"), 0o700))
	e.run()
	if got := e.files(); len(got) != 0 {
		t.Errorf("the workspace holds %q, want nothing", got)
	}
}
