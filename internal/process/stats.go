package process

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/procfs"

	"berth/internal/session"
)

// ticksPerSecond is USER_HZ, the unit of Linux's processor times: 100 on every architecture that Go supports.
const ticksPerSecond = 100

// Stats implements session.Runtime: the sum over the server and what it has started. There is no memory limit.
func (r *Runtime) Stats(ctx context.Context, ref string) (session.Stats, error) {
	c, err := r.enterWith(ctx, "stats of", ref)
	if err != nil {
		return session.Stats{}, err
	}
	c.mu.Lock()
	active := c.run
	c.mu.Unlock()
	if active == nil {
		return session.Stats{}, session.Errorf(session.CodeNotRunning, "container %s does not run", c.name)
	}
	all := markedProcesses()[c.id]
	if !slices.ContainsFunc(all, func(p procfs.Proc) bool { return p.PID == active.process.PID }) {
		server, err := procfs.NewProc(active.process.PID)
		if err == nil {
			all = append(all, server)
		}
	}
	var sum session.Stats
	for _, p := range all {
		s, err := p.Stat()
		if err != nil {
			continue // it has ended meanwhile
		}
		memory, err := p.Statm()
		if err != nil {
			continue
		}
		sum.Memory += session.Bytes(memory.ResidentBytes() - min(memory.ResidentBytes(), memory.SHRBytes())) // files are in the page cache anyway
		sum.CPU += time.Duration(int(s.UTime+s.STime)+s.CUTime+s.CSTime) * time.Second / ticksPerSecond
		sum.PIDs += s.NumThreads
	}
	if sum.PIDs == 0 {
		return session.Stats{}, session.Errorf(session.CodeNotRunning, "container %s has just ended", c.name)
	}
	return sum, nil
}
