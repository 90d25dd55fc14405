package process_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

// workspaceOf runs a server whose workspace holds these files before its start, and returns the workspace's directory and entries.
func workspaceOf(t *testing.T, git bool, files ...string) (dir string, entries []string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	root := t.TempDir()
	r := open(t, root)
	s := spec("a")
	s.Profile.Git = git
	dir = filepath.Join(root, "volumes", s.Name, session.WorkspaceVolume)
	for _, name := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, r, s)
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		entries = append(entries, entry.Name())
	}
	return dir, entries
}

func TestEmptyWorkspaceBecomesRepository(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]string{"new": nil, "interrupted": {".git-init.part/.git/HEAD.lock"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, entries := workspaceOf(t, true, files...)
			if diff := cmp.Diff([]string{".git"}, entries); diff != "" {
				t.Errorf("the workspace (-want +got):\n%s", diff)
			}
			git := exec.Command("git", "symbolic-ref", "HEAD")
			git.Dir = dir
			if out, err := git.Output(); err != nil || strings.TrimSpace(string(out)) != "refs/heads/main" {
				t.Errorf("got HEAD %q and error %v, want the branch main", out, err)
			}
		})
	}
}

func TestWorkspaceIsLeftAlone(t *testing.T) {
	t.Parallel()
	t.Run("a profile that wants no repository", func(t *testing.T) {
		t.Parallel()
		if _, entries := workspaceOf(t, false); len(entries) != 0 {
			t.Errorf("the workspace holds %q, want nothing", entries)
		}
	})
	t.Run("a workspace with files", func(t *testing.T) {
		t.Parallel()
		want := []string{".git-init.part", "a.txt"}
		if _, entries := workspaceOf(t, true, "a.txt", ".git-init.part/mine"); !cmp.Equal(want, entries) {
			t.Errorf("the workspace holds %q, want %q", entries, want)
		}
	})
}
