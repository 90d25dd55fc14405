package commands_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/test/harness"
)

// stateUser is a user that the service runs as in these tests.
const stateUser = 64321

// servicePlace is a binary and a state directory as a package installs them: the directory is the service's.
func servicePlace(t *testing.T) (binary, state string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, who can write as another user")
	}
	dir, err := os.MkdirTemp("", "berth-owner-") //nolint:usetesting // the parents of t.TempDir are closed to other users
	harness.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	harness.Must(t, os.Chmod(dir, 0o755))
	binary, state = filepath.Join(dir, "berth"), filepath.Join(dir, "state")
	// By another process: a child that a parallel test starts would hold a file that this one writes, and that cannot be run.
	harness.Must(t, exec.CommandContext(t.Context(), "install", "-m", "755", harness.Binary(t), binary).Run())
	harness.Must(t, os.Mkdir(state, 0o700))
	harness.Must(t, os.Chown(state, stateUser, stateUser))
	return binary, state
}

// as runs a command as a user.
func as(t *testing.T, user uint32, binary, state string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"BERTH_STATE_DIR=" + state, "BERTH_CONFIG=" + os.DevNull, "HOME=/"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func ownedBy(t *testing.T, dir string, user uint32) {
	t.Helper()
	files, err := os.ReadDir(dir)
	harness.Must(t, err)
	if len(files) == 0 {
		t.Errorf("%s is empty", dir)
	}
	for _, f := range files {
		info, err := f.Info()
		harness.Must(t, err)
		if stat, _ := info.Sys().(*syscall.Stat_t); stat.Uid != user || stat.Gid != user {
			t.Errorf("%s belongs to %d:%d, want %d", f.Name(), stat.Uid, stat.Gid, user)
		}
	}
}

// What an operator does as root to the stopped service's store leaves it to the service.
func TestRootLeavesTheStoreToTheService(t *testing.T) {
	t.Parallel()
	binary, state := servicePlace(t)
	old := filepath.Join(filepath.Dir(state), "old.json")
	harness.Must(t, os.WriteFile(old, []byte(`{"abc": {"session_id": "abc", "created_at": "2024-01-15T10:30:45", "status": "stopped", "auth_token": "sesame"}, "bad": {}}`), 0o644))
	if out, err := as(t, 0, binary, state, "store", "import", old); err == nil || !strings.Contains(out, "import.rejected-") {
		t.Fatalf("import: got %v, %s; want one entry kept aside", err, out)
	}
	ownedBy(t, state, stateUser)
	for _, user := range []uint32{stateUser, 0, stateUser} { // whoever had it last
		out, err := as(t, user, binary, state, "store", "import", old)
		if err == nil || !strings.Contains(out, "known") || !strings.Contains(out, "import.rejected-") {
			t.Errorf("as user %d: got %v, %s", user, err, out)
		}
	}
	exported := filepath.Join(state, "sessions.json")
	if out, err := as(t, 0, binary, state, "store", "export", "--force", "--output", exported); err != nil {
		t.Errorf("export: got %v, %s", err, out)
	}
	ownedBy(t, state, stateUser)
}

// Root does not give away a file that has a name elsewhere, and follows no link that the service's user has laid.
func TestRootKeepsOwnerOfHardLinkedFiles(t *testing.T) {
	t.Parallel()
	binary, state := servicePlace(t)
	for name, link := range map[string]func(oldname, newname string) error{"a hard link": os.Link, "a symbolic link": os.Symlink} {
		private := filepath.Join(filepath.Dir(state), "private")
		harness.Must(t, os.WriteFile(private, []byte("secret\n"), 0o600))
		lock := filepath.Join(state, "sessions.json.lock")
		_ = os.Remove(lock)
		harness.Must(t, link(private, lock))
		out, err := as(t, 0, binary, state, "store", "import", os.DevNull)
		if err == nil {
			t.Errorf("%s: got %s, want it refused", name, out)
		}
		info, err := os.Stat(private)
		harness.Must(t, err)
		text, err := os.ReadFile(private)
		harness.Must(t, err)
		if stat, _ := info.Sys().(*syscall.Stat_t); stat.Uid != 0 || string(text) != "secret\n" {
			t.Errorf("%s: the file behind it belongs to %d and has %q now", name, stat.Uid, text)
		}
	}
}

func TestUnreadableStoreNamesRequiredOwner(t *testing.T) {
	t.Parallel()
	binary, state := servicePlace(t)
	file := filepath.Join(state, "sessions.json")
	harness.Must(t, os.WriteFile(file, []byte("{}"), 0o600))
	remedy := fmt.Sprintf("chown -R %d %s", stateUser, state)
	if out, err := as(t, stateUser, binary, state, "store", "status"); err == nil || !strings.Contains(out, remedy) {
		t.Errorf("sessions.json is root's: got %v, %s; want %q", err, out, remedy)
	}
	harness.Must(t, os.Remove(file))
	if out, err := as(t, stateUser, binary, state, "store", "status"); exitCode(err) != 3 || !strings.Contains(out, "there is no store at") {
		t.Errorf("no store: got %v, %s", err, out)
	}
	secret := filepath.Join(state, "token-secret")
	harness.Must(t, os.WriteFile(secret, []byte("x\n"), 0o600))
	if out, err := as(t, stateUser, binary, state, "store", "import", "/proc/self/status"); err == nil || !strings.Contains(out, remedy) {
		t.Errorf("token-secret is root's: got %v, %s; want %q", err, out, remedy)
	}
}

// exitCode returns the code of a command that has ended, -1 for anything else.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}
