package commands_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/test/harness"
)

const repositoryURL = "https://git.example/team/app.git"

// origin makes a repository with two commits, a branch, a tag, and names that shells take for something else. It returns its directory.
func (e imageEntrypoint) origin() string {
	e.t.Helper()
	dir := e.t.TempDir()
	at := e
	at.workspace = dir
	at.git("init", "--quiet", "--initial-branch=main")
	commit := func(name string) {
		at.write(name, name+"\n")
		at.git("add", "-A")
		at.git("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "--quiet", "-m", name)
	}
	commit("-rf *")
	at.git("tag", "v1")
	commit(".hidden")
	at.git("checkout", "--quiet", "-b", "side")
	commit("side/file")
	at.git("checkout", "--quiet", "main")
	return dir
}

// start runs the entry point with a repository, of which git finds the URL in a directory, and returns the exit code and the log.
func (e imageEntrypoint) start(origin, ref string) (int, string) {
	e.t.Helper()
	cmd := exec.Command(e.script, "serve")
	cmd.Dir = e.workspace
	cmd.Env = []string{
		"PATH=" + e.path, "HOME=" + e.t.TempDir(), "BERTH_REPOSITORY=" + repositoryURL, "BERTH_REF=" + ref,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url." + filepath.Dir(origin) + "/.insteadOf", "GIT_CONFIG_VALUE_0=https://git.example/team/",
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		e.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// named returns a directory with the origin under the name that the URL has.
func (e imageEntrypoint) named() string {
	e.t.Helper()
	dir := filepath.Join(e.t.TempDir(), "app.git")
	harness.Must(e.t, os.Symlink(e.origin(), dir))
	return dir
}

func TestEntrypointClonesRepository(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string][]string{
		"":     {"-rf *", ".git", ".hidden"},
		"side": {"-rf *", ".git", ".hidden", "side"},
		"v1":   {"-rf *", ".git"},
	} {
		t.Run(ref, func(t *testing.T) {
			t.Parallel()
			e := newEntrypoint(t)
			code, log := e.start(e.named(), ref)
			if code != 0 || !strings.HasSuffix(log, "opencode serve\n") {
				t.Fatalf("got code %d and %q", code, log)
			}
			if got := e.files(); !cmp.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := e.git("config", "remote.origin.url"); got != repositoryURL {
				t.Errorf("got the remote %q, want the URL as it was given", got)
			}
			if got := e.git("status", "--porcelain"); got != "" {
				t.Errorf("the clone is changed: %s", got)
			}
		})
	}
	t.Run("commit", func(t *testing.T) {
		t.Parallel()
		e := newEntrypoint(t)
		origin := e.named()
		at := e
		at.workspace = origin
		commit := at.git("rev-parse", "side")
		if code, log := e.start(origin, commit); code != 0 || e.git("rev-parse", "HEAD") != commit {
			t.Errorf("got code %d and %q, want the commit", code, log)
		}
	})
}

func TestEntrypointWithoutRepositoryToCloneEnds(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ directory, ref, want string }{
		"no repository": {"gone.git", "", "does not appear to be a git repository"},
		"no ref":        {"", "nowhere", "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEntrypoint(t)
			origin := e.named()
			if row.directory != "" {
				origin = filepath.Join(t.TempDir(), row.directory)
			}
			code, log := e.start(origin, row.ref)
			lines := strings.Split(strings.TrimSpace(log), "\n")
			last := lines[len(lines)-1]
			if code != 65 || !strings.HasPrefix(last, "the repository "+repositoryURL+" could not be cloned: ") || !strings.Contains(last, row.want) {
				t.Errorf("got code %d and %q", code, log)
			}
			if got := e.files(); len(got) != 0 {
				t.Errorf("%q is left in the workspace", got)
			}
		})
	}
}

func TestEntrypointGoesOnAfterKilledClone(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]func(e imageEntrypoint, origin string){
		"while cloning": func(e imageEntrypoint, _ string) { e.write(".git-clone.part/tree/.git/HEAD", "ref: refs/heads/ma") },
		"while moving": func(e imageEntrypoint, origin string) {
			harness.Must(e.t, os.Mkdir(filepath.Join(e.workspace, ".git-clone.part"), 0o700))
			e.git("clone", "--quiet", origin, ".git-clone.part/tree")
			e.git("-C", ".git-clone.part/tree", "config", "remote.origin.url", repositoryURL)
			harness.Must(e.t, os.Rename(filepath.Join(e.workspace, ".git-clone.part/tree/.hidden"), filepath.Join(e.workspace, ".hidden")))
			e.write(".git-clone.part/done", "")
		},
		"while removing": func(e imageEntrypoint, origin string) {
			e.start(origin, "")
			e.write(".git-clone.part/done", "")
		},
		"while initializing": func(e imageEntrypoint, _ string) { e.write(".git-init.part/.git/HEAD", "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEntrypoint(t)
			origin := e.named()
			left(e, origin)
			code, log := e.start(origin, "")
			if want := []string{"-rf *", ".git", ".hidden"}; code != 0 || !cmp.Equal(e.files(), want) || e.git("status", "--porcelain") != "" {
				t.Errorf("got code %d, %q and %q, want %q", code, log, e.files(), want)
			}
		})
	}
}

func TestEntrypointDoesNotCloneIntoUsedWorkspace(t *testing.T) {
	t.Parallel()
	e := newEntrypoint(t)
	e.write("mine.txt", "mine")
	e.write(".git-clone.part/tree/x", "x") // no clone of ours: it was not done, and there is something else
	code, log := e.start(filepath.Join(t.TempDir(), "gone.git"), "")
	if want := []string{".git-clone.part", "mine.txt"}; code != 0 || !cmp.Equal(e.files(), want) {
		t.Errorf("got code %d, %q and %q, want %q", code, log, e.files(), want)
	}
}
