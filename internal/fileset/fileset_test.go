package fileset

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/atomicfile"
)

func TestUnlockReleasesLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v, want %v", err, ErrLocked)
	}
	// As in a child that is being forked at this moment.
	copied := copyOfOpen(t, dir)
	defer func() { _ = syscall.Close(copied) }()
	unlock()
	unlock, err = Lock(dir)
	if err != nil {
		t.Fatalf("lock after the unlock: %v", err)
	}
	unlock()
}

// copyOfOpen duplicates the file descriptor with which this process has a directory open.
func copyOfOpen(t *testing.T, dir string) int {
	t.Helper()
	const descriptors = "/proc/self/fd"
	open, err := os.ReadDir(descriptors)
	if err != nil {
		t.Skipf("%s lists open files on Linux only: %v", descriptors, err)
	}
	for _, entry := range open {
		if target, err := os.Readlink(filepath.Join(descriptors, entry.Name())); err != nil || target != dir {
			continue
		}
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		copied, err := syscall.Dup(number)
		if err != nil {
			t.Fatal(err)
		}
		return copied
	}
	t.Fatalf("%s is not open", dir)
	return -1
}

func TestLockOfMissingDirectoryIsNotExist(t *testing.T) {
	t.Parallel()
	if _, err := Lock(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

// A change is interrupted before each of its steps. Readers then see the old files or the new ones, never some of each; so do
// all others once the next process has recovered the directory.
func TestCrashLeavesOldOrNewFiles(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	old, changed := map[string]string{"a": "1", "b": "1"}, map[string]string{"b": "2", "c": "2"}
	errCrash := errors.New("crash")
	for at, ended := 0, false; !ended; at++ {
		dir := t.TempDir()
		for name, text := range old {
			if err := atomicfile.Write(filepath.Join(dir, name), []byte(text), 0o444, ""); err != nil {
				t.Fatal(err)
			}
		}
		left, last := at, "the end"
		options := Options{Order: names, Mode: func(string) fs.FileMode { return 0o444 }}
		crashing := options
		crashing.Before = func(step string) error {
			if left--; left < 0 {
				last = step
				return errCrash
			}
			return nil
		}
		d, _, err := Recover(dir, crashing)
		if err == nil {
			err = d.Apply(Change{Write: map[string][]byte{"b": []byte("2"), "c": []byte("2")}, Remove: []string{"a"}})
		}
		if ended = err == nil; !ended && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		seen := contents(t, dir, names, func(path string) ([]byte, error) { return ReadFile(path, 10) })
		want := old
		if seen["b"] == "2" {
			want = changed
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("readers after a crash before %q (-want +got):\n%s", last, diff)
		}
		interrupted := Interrupted(dir)
		_, completed, err := Recover(dir, options)
		if err != nil || completed != interrupted {
			t.Errorf("recovery after a crash before %q: completed %v, %v; want %v", last, completed, err, interrupted)
		}
		if diff := cmp.Diff(want, contents(t, dir, names, os.ReadFile)); diff != "" {
			t.Errorf("files after the recovery from a crash before %q (-want +got):\n%s", last, diff)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(want) {
			t.Errorf("recovery from a crash before %q left %v, %v", last, entries, err)
		}
	}
}

func contents(t *testing.T, dir string, names []string, read func(string) ([]byte, error)) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names {
		data, err := read(filepath.Join(dir, name))
		switch {
		case err == nil:
			all[name] = string(data)
		case !errors.Is(err, fs.ErrNotExist):
			t.Error(err)
		}
	}
	return all
}

func TestChangeOfForeignFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, _, err := Recover(dir, Options{Order: []string{"a"}, Mode: func(string) fs.FileMode { return 0o444 }})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(Change{Write: map[string][]byte{"a": nil, "b": nil}}); err == nil {
		t.Error("a file without a place in the order was silently left out")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v; want nothing changed", entries, err)
	}
}

func TestFileBeyondTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := atomicfile.Write(path, []byte("12345"), 0o444, ""); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("at the limit: %q, %v", data, err)
	}
	if data, err := ReadFile(path, 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("beyond the limit: %q, %v; want %v", data, err, ErrTooLarge)
	}
}

func TestStampsDetectEveryChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	seen := StampsOf(paths)
	for _, step := range []struct {
		name string
		do   func() error
		same bool
	}{
		{"nothing", func() error { return nil }, true},
		{"a file", func() error { return atomicfile.Write(paths[0], []byte("x"), 0o600, "") }, false},
		{"the same content in a new file", func() error { return atomicfile.Write(paths[0], []byte("x"), 0o600, "") }, false},
		{"another file", func() error { return atomicfile.Write(paths[1], nil, 0o600, "") }, false},
		{"no file", func() error { return os.Remove(paths[0]) }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		now := StampsOf(paths)
		if now.Equal(seen) != step.same {
			t.Errorf("after %s: equal %v, want %v", step.name, !step.same, step.same)
		}
		seen = now
	}
}
