package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/pressure"
	"berth/internal/workspace"
)

// Host measures the host's pressure. Unknown values have no sample.
func Host(monitor *pressure.Monitor) prometheus.Collector {
	var s scrape
	memory := s.gauge("berth_host_memory_ratio", "Fraction of the host's memory in use, smoothed.")
	cpu := s.gauge("berth_host_cpu_ratio", "Fraction of the host's CPU time in use, smoothed.")
	level := s.gauge("berth_host_pressure_level", "How short the host is of a resource: 0 not, 1 warning, 2 critical.", "resource")
	stall := s.gauge("berth_host_stall_ratio",
		"Fraction of the last 10 s in which some or all tasks waited for a resource, as the kernel measures it.", "resource", "tasks")
	s.collect = func(to chan<- prometheus.Metric) {
		now := monitor.Snapshot()
		for _, r := range []struct {
			resource pressure.Resource
			ratio    measurement
			state    pressure.State
		}{{pressure.Memory, memory, now.Memory}, {pressure.CPU, cpu, now.CPU}} {
			if r.state.Level == pressure.Unknown {
				continue
			}
			r.ratio(to, r.state.Value)
			level(to, float64(r.state.Level), string(r.resource))
			if measured := r.state.Stall; measured != nil {
				stall(to, measured.Some, string(r.resource), "some")
				stall(to, measured.Full, string(r.resource), "all")
			}
		}
	}
	return &s
}

// Disks measures the use of the disks that are visible from this process.
func Disks(monitor *pressure.DiskMonitor) prometheus.Collector {
	var s scrape
	used := s.gauge("berth_disk_used_ratio", "Fraction of a disk's bytes or inodes in use, whichever is more.", "disk")
	free := s.gauge("berth_disk_free_bytes", "Bytes that are free on a disk.", "disk")
	s.collect = func(to chan<- prometheus.Metric) {
		for _, d := range monitor.Snapshot() {
			if d.Level == pressure.Unknown {
				continue
			}
			used(to, d.Used, d.Name)
			free(to, float64(d.Free), d.Name)
		}
	}
	return &s
}

// Workspaces repeats the last measurement of the sessions' volumes. There is no sample before the first.
func Workspaces(monitor *workspace.Monitor) prometheus.Collector {
	var s scrape
	bytes := s.gauge("berth_workspaces_bytes", "What the volumes of all sessions take on the engine's disk, as far as they could be measured.")
	largest := s.gauge("berth_workspace_largest_bytes", "What the volumes of the largest session take.")
	measured := s.gauge("berth_workspaces_measured", "Sessions whose volumes could be measured.")
	over := s.gauge("berth_workspaces_over", "Sessions whose volumes are at a threshold or above.", "threshold")
	s.collect = func(to chan<- prometheus.Metric) {
		sum := monitor.Summary()
		measured(to, float64(sum.Measured))
		if sum.Measured == 0 {
			return
		}
		bytes(to, float64(sum.Bytes))
		largest(to, float64(sum.Largest))
		over(to, float64(sum.Warned), "warning")
		over(to, float64(sum.Over), "limit")
	}
	return &s
}
