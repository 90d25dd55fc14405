package config

import (
	"cmp"
	"maps"
	"slices"

	"berth/internal/session"
)

// Default are the limits of a session that asks for none, and whose profile has none.
func (l Limits) Default() session.Limits {
	return session.Limits{Memory: l.Memory, CPUs: session.CPUsOf(l.CPUQuota, max(1, l.CPUPeriod)), Processes: l.PIDs}
}

// Most are the highest limits that a session may have.
func (l Limits) Most() session.Limits {
	usual := l.Default()
	return session.Limits{
		Memory: cmp.Or(l.MaxMemory, usual.Memory), CPUs: cmp.Or(l.MaxCPUs, usual.CPUs), Processes: cmp.Or(l.MaxPIDs, usual.Processes),
	}
}

// mostLimits checks that the maxima are not below what sessions get without asking.
func (v *checker) mostLimits(c Config) {
	l := c.Limits
	usual, most := l.Default(), l.Most()
	v.that(most.Memory >= usual.Memory, "MAX_SESSION_MEMORY", l.MaxMemory, "contradicts CONTAINER_MEMORY_LIMIT=%s, which is the default: it cannot be lower", l.Memory)
	v.that(most.CPUs >= usual.CPUs, "MAX_SESSION_CPUS", l.MaxCPUs, "contradicts CONTAINER_CPU_QUOTA, %s CPUs, which is the default: it cannot be lower", usual.CPUs)
	v.that(most.Processes >= usual.Processes, "MAX_SESSION_PIDS", l.MaxPIDs, "contradicts CONTAINER_PIDS_LIMIT=%d, which is the default: it cannot be lower", l.PIDs)
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		p := c.Profiles[name]
		at := "profiles." + name
		v.that(p.Memory <= most.Memory, at, p.Memory, "memory is above %s; raise MAX_SESSION_MEMORY", most.Memory)
		v.that(p.CPUs <= most.CPUs, at, p.CPUs, "cpus is above %s; raise MAX_SESSION_CPUS", most.CPUs)
		v.that(p.Processes == 0 || p.Processes >= minPIDs && p.Processes <= most.Processes, at, p.Processes,
			"pids is not between %d and %d; see MAX_SESSION_PIDS", minPIDs, most.Processes)
	}
}
