package docker

import (
	"context"
	"encoding/json"
	"time"

	"berth/internal/session"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Stats takes one measurement, without the second that the engine otherwise waits for a rate. See [session.Runtime].
func (r *Runtime) Stats(ctx context.Context, ref string) (session.Stats, error) {
	var stats session.Stats
	err := r.read(ctx, "measure container "+ref, func(ctx context.Context) error {
		c, err := r.inspectOwn(ctx, ref)
		if err != nil {
			return err
		}
		idle := session.Errorf(session.CodeNotRunning, "container %q does not run; start it first", ref)
		if !hasProcesses(stateOf(c.State.Status)) {
			return idle
		}
		answer, err := r.api.ContainerStats(ctx, c.ID, client.ContainerStatsOptions{})
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		var measured container.StatsResponse
		if err := json.NewDecoder(answer.Body).Decode(&measured); err != nil {
			return err
		}
		if measured.Read.IsZero() { // it has stopped meanwhile
			return idle
		}
		stats = statsOf(measured)
		return nil
	})
	return stats, err
}

func statsOf(m container.StatsResponse) session.Stats {
	return session.Stats{
		Memory:      session.Bytes(m.MemoryStats.Usage - min(m.MemoryStats.Usage, pageCache(m.MemoryStats.Stats))),
		MemoryLimit: session.Bytes(m.MemoryStats.Limit),
		CPU:         time.Duration(m.CPUStats.CPUUsage.TotalUsage), // nanoseconds on Linux
		PIDs:        int(m.PidsStats.Current),
	}
}

// pageCache is the memory that the kernel can reclaim at any time. cgroup v1 reports it for the group and its descendants as
// total_inactive_file, v2 as inactive_file.
func pageCache(stats map[string]uint64) uint64 {
	if total, v1 := stats["total_inactive_file"]; v1 {
		return total
	}
	return stats["inactive_file"]
}
