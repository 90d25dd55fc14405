package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"berth/internal/atomicfile"
)

func wantFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), got, err, content)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("%s: got %v, %v; want the mode %04o", filepath.Base(path), info, err, mode)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("got the files %v, %v; want nothing left beside it", names, err)
	}
}

func TestWriteReplacesContentAndMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("the previous content, which is longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(path, []byte("new"), 0o600, filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "new", 0o600)
}

func TestWriteThatFailsLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(path, []byte("x"), 0o600, ""); err == nil {
		t.Error("a directory was replaced by a file, want an error")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("got the files %v, %v; want the directory alone", names, err)
	}
}

func TestCreateMakesOneFileAmongMany(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	var made atomic.Pointer[string]
	var wg sync.WaitGroup
	for _, content := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			switch err := atomicfile.Create(path, []byte(content), 0o600, filepath.Dir(path)); {
			case err == nil:
				if !made.CompareAndSwap(nil, &content) {
					t.Error("two creates have succeeded, want one")
				}
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("got %v, want fs.ErrExist", err)
			}
		})
	}
	wg.Wait()
	if made.Load() == nil {
		t.Fatal("no create has succeeded, want one")
	}
	wantFile(t, path, *made.Load(), 0o600)
}

func TestRemoveOfMissingFileSucceeds(t *testing.T) {
	t.Parallel()
	if err := atomicfile.Remove(filepath.Join(t.TempDir(), "file")); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
