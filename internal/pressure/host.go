package pressure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/common"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"
)

// HostOptions are the settings of a Host. The zero value is for this machine.
type HostOptions struct {
	// Children says that sessions are children of this process, so that its own control group bounds their memory
	// together. Containers are the engine's, and bounded by nothing of Berth's.
	Children bool

	Proc   string // of the kernel's process information; default /proc
	Groups string // of its control groups; default /sys/fs/cgroup
}

// Host is the machine that this process runs on, also from inside a container, where the kernel reports the whole
// machine nevertheless.
type Host struct {
	opts HostOptions

	mu     sync.Mutex
	before *cpu.TimesStat // nil: no look yet
	busy   float64
}

var _ Source = (*Host)(nil)

// NewHost takes no sample.
func NewHost(opts HostOptions) *Host {
	opts.Proc = cmp.Or(opts.Proc, "/proc")
	opts.Groups = cmp.Or(opts.Groups, "/sys/fs/cgroup")
	return &Host{opts: opts}
}

// firstLook is how long the first sample takes, because CPU use is the difference between two readings.
const firstLook = 200 * time.Millisecond

// Sample measures memory in use, which excludes the kernel's caches, and CPU time since the previous sample.
func (h *Host) Sample(ctx context.Context) (Sample, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{common.HostProcEnvKey: h.opts.Proc})
	if h.before == nil {
		if _, err := h.cpu(ctx); err != nil {
			return Sample{}, err
		}
		select {
		case <-time.After(firstLook):
		case <-ctx.Done():
			return Sample{}, ctx.Err()
		}
	}
	var s Sample
	var err error
	if s.CPU, err = h.cpu(ctx); err != nil {
		return Sample{}, err
	}
	memory, err := mem.VirtualMemoryWithContext(ctx)
	switch {
	case err != nil:
		return Sample{}, fmt.Errorf("measure memory: %w", err)
	case memory.Total == 0:
		return Sample{}, errors.New("measure memory: the kernel reports none")
	}
	s.Memory = 1 - float64(min(memory.Available, memory.Total))/float64(memory.Total)
	if h.opts.Children {
		s.Memory = max(s.Memory, h.ownGroup(memory.Total))
	}
	s.MemoryStall, s.CPUStall = h.stall("memory"), h.stall("cpu")
	return s, nil
}

// cpu is the fraction of all CPU time since the previous sample that was not idle.
func (h *Host) cpu(ctx context.Context) (float64, error) {
	all, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return 0, fmt.Errorf("measure CPU time: %w", err)
	}
	if len(all) == 0 {
		return 0, errors.New("measure CPU time: the kernel reports none")
	}
	now := all[0]
	if before := h.before; before != nil {
		total := (spent(now) + idle(now)) - (spent(*before) + idle(*before))
		if total <= 0 {
			return h.busy, nil // within one tick of the kernel's clock
		}
		// Idle time may run backwards a little where CPUs come and go.
		h.busy = min(max((spent(now)-spent(*before))/total, 0), 1)
	}
	h.before = &now
	return h.busy, nil
}

// spent is time that was not idle. Time stolen by the hypervisor counts as well; a guest's time is in User already.
func spent(t cpu.TimesStat) float64 {
	return t.User + t.Nice + t.System + t.Irq + t.Softirq + t.Steal
}

func idle(t cpu.TimesStat) float64 { return t.Idle + t.Iowait }

// stall reads the kernel's own measure of pressure; nil where there is none.
func (h *Host) stall(resource string) *Stall {
	text, err := os.ReadFile(filepath.Join(h.opts.Proc, "pressure", resource))
	if err != nil {
		return nil
	}
	return parseStall(string(text))
}
