package pressure

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func smallDisk(t *testing.T, options string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
			t.Fatalf("a small disk needs root: %v", err)
		}
		t.Skipf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestDiskLevelRisesAsItFills(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "size=1m")
	for _, step := range []struct {
		kilobytes int
		want      Level
	}{{100, OK}, {940, Warning}, {1008, Critical}, {1024, Critical}, {500, OK}} {
		if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, step.kilobytes<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := SpaceAt(dir)
		if err != nil || got.Level != step.want || got.Free != uint64(1024-step.kilobytes)<<10 {
			t.Errorf("with %d KiB of 1 MiB in use: got %+v, %v; want the level %s", step.kilobytes, got, err, step.want)
		}
	}
}

func TestDiskWithoutInodesIsFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "size=1m,nr_inodes=50")
	var err error
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600)
	}
	if got, err := SpaceAt(dir); err != nil || got.Level != Critical {
		t.Errorf("got %+v, %v; want the level critical", got, err)
	}
}

func TestDiskLevelNeedsFractionAndBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		used float64
		left uint64
		want Level
	}{
		{0.98, 300 << 30, OK},
		{0.98, 10 << 30, Warning},
		{0.98, 1 << 30, Critical},
		{0.5, 1 << 20, OK},
	} {
		if got := levelOf(c.used, c.left, diskWarningLeft, diskCriticalLeft); got != c.want {
			t.Errorf("%v in use and %d bytes left: got %s, want %s", c.used, c.left, got, c.want)
		}
	}
}

func TestDiskMonitorReportsEachChangeOnceWithHangingDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex // of what the monitor's goroutines see
		var reported []Level
		m := NewDiskMonitor([]Disk{{"engine", "/a"}, {"elsewhere", ""}}, func(_ Level, now DiskState) {
			mu.Lock()
			defer mu.Unlock()
			reported = append(reported, now.Level)
		})
		level, hang, release := OK, false, make(chan struct{})
		m.look = func(string) (Space, error) {
			mu.Lock()
			level, hang := level, hang
			mu.Unlock()
			if hang {
				<-release
				return Space{}, errors.New("stale file handle")
			}
			return Space{Used: 0.5, Level: level}, nil
		}
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		for _, next := range []func(){
			func() {}, func() { level = Critical }, func() {}, func() { level = OK }, func() { hang = true },
		} {
			mu.Lock()
			next()
			mu.Unlock()
			time.Sleep(3 * diskInterval) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
		}
		time.Sleep(diskStale) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []Level{OK, Critical, OK, Unknown}
		if len(reported) != len(want) {
			t.Fatalf("got the changes %v, want %v", reported, want)
		}
		for i := range want {
			if reported[i] != want[i] {
				t.Errorf("got the changes %v, want %v", reported, want)
			}
		}
		if all := m.Snapshot(); all[1].Level != Unknown || !all[1].At.IsZero() {
			t.Errorf("a disk that cannot be seen is %+v, want unknown", all[1])
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		close(release)
	})
}
