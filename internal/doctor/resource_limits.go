package doctor

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"berth/internal/session"
)

const adviceRecreate = "delete the session and create it again; Berth itself never makes one without limits"

// resourceLimits checks the configured limits, and those of running session containers.
func resourceLimits(ctx context.Context, o *Options) []Finding {
	l := o.Config.Limits
	findings := []Finding{}
	if l.Memory <= 0 || l.CPUQuota <= 0 || l.CPUPeriod <= 0 || l.PIDs <= 0 {
		findings = append(findings, fail("limits-missing", "set CONTAINER_MEMORY_LIMIT, CONTAINER_CPU_QUOTA, CONTAINER_CPU_PERIOD and CONTAINER_PIDS_LIMIT",
			"the settings leave out a limit: memory %s, CPU %d of %d µs, %d processes", l.Memory, l.CPUQuota, l.CPUPeriod, l.PIDs))
	} else {
		findings = append(findings, pass("limits-configured", "every session gets %s of memory, %.2f CPUs and %d processes at most",
			l.Most().Memory, float64(l.Most().CPUs)/float64(session.OneCPU), l.Most().Processes))
	}
	sessions, none := o.sessions(ctx)
	if none != nil {
		return append(findings, none...)
	}
	if len(sessions) == 0 {
		return append(findings, skip("no-sessions", "no session is running, so enforcement could not be looked at"))
	}
	enforced := o.inspect(ctx, sessions, o.judgeLimits)
	return append(findings, orPass(enforced, pass("limits-enforced", "all of %d running session containers have limits", len(sessions)))...)
}

func (o *Options) judgeLimits(name string, got *container.HostConfig) []Finding {
	var findings []Finding
	missing := func(what string) {
		findings = append(findings, fail("limit-not-enforced", adviceRecreate, "session container %s has no limit of %s", name, what))
	}
	cpus := float64(got.NanoCPUs) / 1e9
	if got.CPUPeriod > 0 && got.CPUQuota > 0 {
		cpus = float64(got.CPUQuota) / float64(got.CPUPeriod)
	} else if got.CPUQuota > 0 {
		cpus = float64(got.CPUQuota) / 100_000 // the kernel's own period
	}
	if got.Memory <= 0 {
		missing("memory")
	}
	if got.Memory > 0 && got.MemorySwap != got.Memory { // memory and swap together; anything else leaves some to swap
		missing("swap")
	}
	if cpus <= 0 {
		missing("CPU time")
	}
	if got.PidsLimit == nil || *got.PidsLimit <= 0 {
		missing("processes")
	}
	most := o.Config.Limits.Most()
	if len(findings) == 0 && (got.Memory > int64(most.Memory) || cpus > float64(most.CPUs)/float64(session.OneCPU)+1e-6 || *got.PidsLimit > most.Processes) {
		findings = append(findings, warn("limit-above-settings", "restart is not enough: "+adviceRecreate,
			"session container %s may use more than the settings say now: %d bytes, %.2f CPUs, %d processes", name, got.Memory, cpus, *got.PidsLimit))
	}
	return findings
}
