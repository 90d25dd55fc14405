package process

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/internal/session"
)

// ticksPerSecond is USER_HZ, in which Linux tells processor time: 100 on every architecture that Go knows.
const ticksPerSecond = 100

// Stats implements session.Runtime: the sum over the server and what it has started. There is no memory limit.
func (r *Runtime) Stats(ctx context.Context, ref string) (session.Stats, error) {
	if err := r.enter(ctx, "stats of "+ref); err != nil {
		return session.Stats{}, err
	}
	c, err := r.find(ref)
	if err != nil {
		return session.Stats{}, err
	}
	c.mu.Lock()
	life := c.run
	c.mu.Unlock()
	if life == nil {
		return session.Stats{}, session.Errorf(session.CodeNotRunning, "container %s does not run", c.name)
	}
	all := markedProcesses()[c.id]
	if !slices.Contains(all, life.process.PID) {
		all = append(all, life.process.PID)
	}
	var sum session.Stats
	for _, pid := range all {
		s, err := readStat(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		memory, err := ownMemory(pid)
		if err != nil {
			continue
		}
		sum.Memory += memory
		sum.CPU += time.Duration(s.ticks) * time.Second / ticksPerSecond
		sum.PIDs += s.threads
	}
	if sum.PIDs == 0 {
		return session.Stats{}, session.Errorf(session.CodeNotRunning, "container %s has just ended", c.name)
	}
	return sum, nil
}

// ownMemory is the resident memory of a process without that of files, which the page cache has anyway.
func ownMemory(pid int) (session.Bytes, error) {
	text, err := os.ReadFile(procFile(pid, "statm"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0, fmt.Errorf("the memory status of process %d has not the form that is known", pid)
	}
	resident, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	shared, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return session.Bytes((resident - shared) * int64(os.Getpagesize())), nil
}
