package jsonfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/internal/session"
)

func TestSecondOpenFailsAndNamesLockHolder(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	wantRefused(t, path, path, fmt.Sprintf("is in use by process %d; stop it or use another BERTH_STATE_DIR", os.Getpid()))
	create(t, s, "ses-b")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantAgreement(t, open(t, path, Options{}), path, "ses-a", "ses-b")
}

func TestLockIsHeldUntilOwnerExits(t *testing.T) {
	t.Parallel()
	path := file(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childStore+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	opened := make([]byte, len("open\n"))
	if _, err := out.Read(opened); err != nil { // and no more, so that the child waits for us to read
		t.Fatal(err)
	}
	_, err = Open(path, Options{})
	wantUnavailable(t, err, "open of a file that another process has")
	if want := fmt.Sprintf("in use by process %d;", cmd.Process.Pid); !strings.Contains(session.MessageOf(err), want) {
		t.Errorf("the message is %q, want %q in it", session.MessageOf(err), want)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	open(t, path, Options{})
}

func TestStoreStopsWritingAfterLosingItsLock(t *testing.T) {
	t.Parallel()
	path := file(t)
	first := open(t, path, Options{})
	create(t, first, "ses-a")
	if err := os.Remove(path + lockSuffix); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, first.Ping(t.Context()), "ping without a lock")
	second := open(t, path, Options{})
	create(t, second, "ses-b")
	_, err := first.Create(t.Context(), sample("ses-c"), session.Quota{})
	wantUnavailable(t, err, "create without a lock")
	wantAgreement(t, second, path, "ses-a", "ses-b")
}

func TestPreviousFileIsPreviousVersion(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]func(string, string) error{
		"by a hard link":                     os.Link,
		"by a copy, where links are unknown": func(string, string) error { return syscall.ENOTSUP },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := file(t)
			s := open(t, path, Options{link: link})
			for _, id := range []session.ID{"ses-a", "ses-b", "ses-c"} {
				before := read(t, path)
				create(t, s, id)
				if got := read(t, path+previousSuffix); got != before {
					t.Errorf("after the create of %s the previous version is %q, want %q", id, got, before)
				}
			}
			wantOwnerOnly(t, path, path+previousSuffix, path+lockSuffix)
			wantAgreement(t, s, path, "ses-a", "ses-b", "ses-c")
		})
	}
}

func wantOwnerOnly(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s has the mode %v, want 0600: it holds token digests", filepath.Base(path), got)
		}
	}
}

func TestFilesAreReadableByOwnerOnly(t *testing.T) {
	t.Parallel()
	path := used(t)
	for _, p := range []string{path, path + previousSuffix} {
		if err := os.Chmod(p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, path, Options{})
	wantOwnerOnly(t, path, path+previousSuffix, path+lockSuffix)
	create(t, s, "ses-c")
	wantOwnerOnly(t, path, path+previousSuffix, path+lockSuffix)
}

func TestOpenRemovesOnlyTemporaryFiles(t *testing.T) {
	t.Parallel()
	path := used(t)
	dir, base := filepath.Split(path)
	leftovers := []string{"." + base + "1234567890", "." + base + previousSuffix + "42", base + previousSuffix + newSuffix}
	others := []string{"." + base + ".swp", "." + base, base + ".refused", "." + base + "12a", "other.json", ".other.json123", base + ".lock.txt"}
	for _, name := range append(leftovers, others...) {
		write(t, filepath.Join(dir, name), "x")
	}
	if err := open(t, path, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	there := snapshot(t, dir)
	for _, name := range leftovers {
		if _, ok := there[name]; ok {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range append(others, base, base+previousSuffix) {
		if _, ok := there[name]; !ok {
			t.Errorf("%s is gone", name)
		}
	}
}

func TestFirstOpenCreatesFileOrFails(t *testing.T) {
	t.Parallel()
	path := file(t)
	wantAgreement(t, open(t, path, Options{}), path)

	broken := file(t)
	for _, at := range []step{stepCreated, stepWritten, stepReplaced, stepDurable} {
		_, err := Open(broken, Options{fault: failAt(at, syscall.EROFS)})
		wantUnavailable(t, err, "first open on a disk that fails at "+string(at))
		if left := snapshot(t, filepath.Dir(broken)); len(left) != 0 {
			t.Errorf("a failed first open at %s left %v", at, left)
		}
	}
	open(t, broken, Options{})
}

func TestRemovedFileIsRewritten(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	create(t, s, "ses-b")
	wantAgreement(t, s, path, "ses-a", "ses-b")
}
