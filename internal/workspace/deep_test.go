package workspace_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/workspace"
)

// deepen makes nested directories below dir, deeper than the longest path.
func deepen(t *testing.T, dir string, depth int) {
	t.Helper()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range depth {
		if err != nil {
			break
		}
		if err = unix.Mkdirat(at, "d", 0o700); err != nil {
			break
		}
		var next int
		next, err = unix.Openat(at, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		_ = unix.Close(at)
		at = next
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(at)
}

func TestDeepDirectoriesAreMeasured(t *testing.T) {
	t.Parallel()
	run(t, workspace.Options{Limit: 8 * mb}, func(f *fixture) {
		for i := range 40 {
			dir := filepath.Join(f.dirs[0], "deep"+strconv.Itoa(i))
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			deepen(t, dir, 130)
		}
		write(t, filepath.Join(f.dirs[0], "zz", "big"), 5*mb)
		write(t, filepath.Join(f.dirs[1], "big"), 5*mb)
	}, func(f *fixture) {
		size, ok := f.Size("ses-a")
		if !ok || size.Partial || size.Bytes < 10*mb || len(f.stopped) != 1 {
			t.Errorf("got %+v %v, stopped %v, want all of it counted and the session stopped", size, ok, f.stopped)
		}
	})
}

func TestTooDeepDirectoryExceedsLimitAndRestIsCounted(t *testing.T) {
	t.Parallel()
	run(t, workspace.Options{Limit: 100 * mb}, func(f *fixture) {
		deepen(t, f.dirs[0], 3000)
		write(t, filepath.Join(f.dirs[0], "zz", "big"), 5*mb)
		write(t, filepath.Join(f.dirs[1], "big"), 5*mb)
	}, func(f *fixture) {
		size, ok := f.Size("ses-a")
		if !ok || !size.Partial || size.Bytes < 10*mb || size.Level != workspace.Over || len(f.stopped) != 1 {
			t.Errorf("got %+v %v, stopped %v, want all but the too deep part counted, and the session stopped", size, ok, f.stopped)
		}
		if !strings.Contains(f.log.String(), "deeper directories") {
			t.Errorf("the log does not say why:\n%s", f.log.String())
		}
	})
}
