package pressure_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/pressure"
)

// kernel is a directory with the files of a kernel, such as /proc.
type kernel struct {
	t                 *testing.T
	proc, groups      string
	work, idle, steal int // ticks so far
}

func newKernel(t *testing.T) *kernel {
	t.Helper()
	k := &kernel{t: t, proc: t.TempDir(), groups: t.TempDir()}
	k.memory(1000, 100, 400)
	k.spend(100, 100, 0)
	return k
}

func (k *kernel) write(dir, name, text string) {
	k.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kernel) memory(total, free, available int) {
	k.write(k.proc, "meminfo", fmt.Sprintf("MemTotal: %d kB\nMemFree: %d kB\nMemAvailable: %d kB\nCached: 0 kB\nBuffers: 0 kB\n", total, free, available))
}

// spend adds CPU time: ticks of work, idle time, and stolen time.
func (k *kernel) spend(work, idle, steal int) {
	k.work, k.idle, k.steal = k.work+work, k.idle+idle, k.steal+steal
	k.write(k.proc, "stat", fmt.Sprintf("cpu  %d 0 0 %d 0 0 0 %d 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n", k.work, k.idle, k.steal))
}

func (k *kernel) host(children bool) *pressure.Host {
	return pressure.NewHost(pressure.HostOptions{Proc: k.proc, Groups: k.groups, Children: children})
}

func (k *kernel) sample(h *pressure.Host) pressure.Sample {
	k.t.Helper()
	s, err := h.Sample(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return s
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestHostSample(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(t)
		h := k.host(false)
		go func() {
			<-time.After(100 * time.Millisecond) // between the two looks of the first sample
			k.spend(10, 30, 0)
		}()
		s := k.sample(h)
		if !near(s.Memory, 0.6) || !near(s.CPU, 0.25) || s.MemoryStall != nil || s.CPUStall != nil {
			t.Errorf("got %+v, want 0.6 of memory, because caches are available, 0.25 of CPU time, and no stalls", s)
		}
		k.spend(10, 60, 30)
		if s := k.sample(h); !near(s.CPU, 0.4) {
			t.Errorf("got %v of CPU time, want 0.4: stolen time is not available", s.CPU)
		}
		if s := k.sample(h); !near(s.CPU, 0.4) {
			t.Errorf("got %v within one tick, want the last value", s.CPU)
		}
		k.write(k.proc, "pressure/memory", "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=2.00 avg60=0.00 avg300=0.00 total=0\n")
		k.write(k.proc, "pressure/cpu", "some avg10=50.00 avg60=0.00 avg300=0.00 total=1\n")
		s = k.sample(h)
		if diff := cmp.Diff(&pressure.Stall{Some: 0.125, Full: 0.02}, s.MemoryStall); diff != "" {
			t.Errorf("stalls for memory (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(&pressure.Stall{Some: 0.5}, s.CPUStall); diff != "" {
			t.Errorf("stalls for CPU time (-want +got):\n%s", diff)
		}
	})
}

func TestOwnGroupCountsOnlyWhereItBoundsSessions(t *testing.T) {
	t.Parallel()
	const kB = 1024
	for name, group := range map[string]struct {
		cgroup string
		files  map[string]int
		want   float64
	}{
		"version 2": {"0::/berth.slice/berth.service\n", map[string]int{
			"berth.slice/berth.service/memory.max": 500 * kB, "berth.slice/berth.service/memory.current": 450 * kB,
		}, 0.9},
		"version 2, the group around it is fuller": {"0::/berth.slice/berth.service\n", map[string]int{
			"berth.slice/berth.service/memory.max": 500 * kB, "berth.slice/berth.service/memory.current": 100 * kB,
			"berth.slice/memory.max": 600 * kB, "berth.slice/memory.current": 570 * kB,
		}, 0.95},
		"version 1": {"7:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/\n", map[string]int{
			"memory/docker/abc/memory.limit_in_bytes": 500 * kB, "memory/docker/abc/memory.usage_in_bytes": 400 * kB,
		}, 0.8},
		"version 1, without a limit": {"5:memory:/\n", map[string]int{
			"memory/memory.limit_in_bytes": 1 << 62, "memory/memory.usage_in_bytes": 1 << 61,
		}, 0.6},
		"no group": {"", nil, 0.6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := newKernel(t)
				k.write(k.proc, "self/cgroup", group.cgroup)
				for file, value := range group.files {
					k.write(k.groups, file, fmt.Sprintln(value))
				}
				if s := k.sample(k.host(true)); !near(s.Memory, group.want) {
					t.Errorf("got %v of memory, want %v", s.Memory, group.want)
				}
				if s := k.sample(k.host(false)); !near(s.Memory, 0.6) {
					t.Errorf("got %v of memory where the engine has the sessions, want the host's 0.6", s.Memory)
				}
			})
		})
	}
}

func TestCachesOfOwnGroupAreNotInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(t)
		k.write(k.proc, "self/cgroup", "0::/\n")
		k.write(k.groups, "memory.max", "512000\n")
		k.write(k.groups, "memory.current", "500000\n")
		k.write(k.groups, "memory.stat", "anon 1\ninactive_file 90400\n")
		if s := k.sample(k.host(true)); !near(s.Memory, 0.8) {
			t.Errorf("got %v of memory, want 0.8", s.Memory)
		}
	})
}

func TestMissingKernelFilesAreAnError(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{"stat", "meminfo"} {
		synctest.Test(t, func(t *testing.T) {
			k := newKernel(t)
			if err := os.Remove(filepath.Join(k.proc, missing)); err != nil {
				t.Fatal(err)
			}
			if s, err := k.host(false).Sample(t.Context()); err == nil {
				t.Errorf("without %s: got %+v, want an error", missing, s)
			}
		})
	}
}

func TestSampleOfThisMachine(t *testing.T) {
	t.Parallel()
	h := pressure.NewHost(pressure.HostOptions{Children: true})
	s, err := h.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Memory <= 0 || s.Memory > 1 || s.CPU < 0 || s.CPU > 1 {
		t.Errorf("got %+v, want fractions", s)
	}
	if _, err := os.Stat("/proc/pressure/memory"); err == nil && s.MemoryStall == nil {
		t.Error("the kernel reports memory stalls, and the sample does not")
	}
}
