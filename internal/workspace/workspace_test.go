package workspace_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/session"
	"berth/internal/workspace"
)

const mb = 1 << 20

func write(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fixture is a monitor of one session with two volumes; the test counts its passes.
type fixture struct {
	*workspace.Monitor
	dirs    []string
	log     bytes.Buffer
	stopped []session.ID
	state   session.State
}

// run makes as many passes as the test's steps, each after the step before it.
func run(t *testing.T, opts workspace.Options, steps ...func(*fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{dirs: []string{t.TempDir(), t.TempDir()}, state: session.StateRunning}
		var mu sync.Mutex
		opts.Every = time.Minute
		opts.Logger = slog.New(slog.NewTextHandler(&f.log, nil))
		opts.Containers = func(context.Context) ([]session.Container, error) {
			mu.Lock()
			defer mu.Unlock()
			return []session.Container{{Session: "ses-a", State: f.state, Volumes: f.dirs}}, nil
		}
		opts.Stop = func(_ context.Context, id session.ID) error {
			mu.Lock()
			defer mu.Unlock()
			f.stopped, f.state = append(f.stopped, id), session.StateStopped
			return nil
		}
		var err error
		if f.Monitor, err = workspace.New(opts); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		for _, step := range steps {
			<-time.After(time.Minute) // of the bubble's clock: one more pass
			synctest.Wait()           // has ended
			mu.Lock()
			step(f)
			mu.Unlock()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: got %v, want nil", err)
		}
	})
}

func TestSizeCountsVolumesOnly(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	write(t, filepath.Join(outside, "big"), 20*mb)
	run(t, workspace.Options{}, func(f *fixture) {
		write(t, filepath.Join(f.dirs[0], "a", "b", "c"), mb)
		write(t, filepath.Join(f.dirs[1], "d"), 2*mb)
		for name, target := range map[string]string{"out": outside, "up": "..", "self": "."} {
			if err := os.Symlink(target, filepath.Join(f.dirs[0], name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Link(filepath.Join(f.dirs[1], "d"), filepath.Join(f.dirs[1], "again")); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(f.dirs[0], "a", "b", "c"), 100<<30); err != nil { // a hole
			t.Logf("no file with a hole: %v", err)
		}
	}, func(f *fixture) {
		size, ok := f.Size("ses-a")
		if !ok || size.Partial || size.Bytes < 3*mb || size.Bytes > 4*mb {
			t.Errorf("got %+v %v, want about 3 MiB: links are not followed, files count once, holes take no space", size, ok)
		}
		if sum := f.Summary(); sum.Measured != 1 || sum.Bytes != size.Bytes || sum.Largest != size.Bytes {
			t.Errorf("got the sum %+v, want that of the one session", sum)
		}
	})
}

func TestLevelsAreLoggedOnceAndLimitStops(t *testing.T) {
	t.Parallel()
	run(t, workspace.Options{Warning: 2 * mb, Limit: 4 * mb}, func(f *fixture) {
		write(t, filepath.Join(f.dirs[0], "a"), 3*mb)
	}, func(f *fixture) {
		if size, _ := f.Size("ses-a"); size.Level != workspace.Warning || len(f.stopped) > 0 {
			t.Errorf("got %+v, stopped %v, want a warning and no stop", size, f.stopped)
		}
	}, func(f *fixture) {
		if n := strings.Count(f.log.String(), "level=WARN"); n != 1 {
			t.Errorf("warned %d times, want once:\n%s", n, f.log.String())
		}
		write(t, filepath.Join(f.dirs[1], "b"), 2*mb)
	}, func(f *fixture) {
		if size, _ := f.Size("ses-a"); size.Level != workspace.Over || len(f.stopped) != 1 {
			t.Errorf("got %+v, stopped %v, want it stopped once", size, f.stopped)
		}
	}, func(f *fixture) {
		if len(f.stopped) != 1 {
			t.Errorf("stopped %v, want once: it does not run", f.stopped)
		}
	})
}

func TestNoLimitStopsNothing(t *testing.T) {
	t.Parallel()
	run(t, workspace.Options{Warning: mb}, func(f *fixture) {
		write(t, filepath.Join(f.dirs[0], "a"), 5*mb)
	}, func(f *fixture) {
		if size, _ := f.Size("ses-a"); size.Level != workspace.Warning || len(f.stopped) > 0 {
			t.Errorf("got %+v, stopped %v, want a warning only", size, f.stopped)
		}
	})
}

func TestUnreadableVolumesHaveNoSize(t *testing.T) {
	t.Parallel()
	run(t, workspace.Options{Warning: 1, Limit: 1}, func(f *fixture) {
		f.dirs = []string{filepath.Join(t.TempDir(), "elsewhere")}
	}, func(f *fixture) {
		if size, ok := f.Size("ses-a"); ok || f.Summary().Measured != 0 {
			t.Errorf("got %+v, want nothing known", size)
		}
	}, func(f *fixture) {
		if n := strings.Count(f.log.String(), "cannot be read from here"); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
	})
}

func TestLimitWithoutStopIsRefused(t *testing.T) {
	t.Parallel()
	_, err := workspace.New(workspace.Options{Limit: 1, Containers: func(context.Context) ([]session.Container, error) {
		return nil, errors.New("not asked")
	}})
	if err == nil {
		t.Error("got a monitor, want an error")
	}
}
