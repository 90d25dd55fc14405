package doctor

import (
	"context"

	"berth/internal/session"
)

// sessionThrottling checks that the number of sessions is limited, that the engine has resources for as many, and that sessions
// are not started on a busy host.
func sessionThrottling(ctx context.Context, o *Options) []Finding {
	l := o.Config.Limits
	var findings []Finding
	if l.MaxSessions < 1 {
		return append(findings, fail("sessions-unbounded", "set MAX_CONCURRENT_SESSIONS to what the engine can bear", "the number of sessions is not bounded"))
	}
	findings = append(findings, pass("sessions-bounded", "%d sessions may run at once (MAX_CONCURRENT_SESSIONS)", l.MaxSessions))
	if l.Critical >= 1 {
		findings = append(findings, warn("pressure-ignored", "set RESOURCE_CRITICAL_THRESHOLD below 1, like 0.95",
			"sessions are started however short the host is of memory and CPU time"))
	}
	info, none := o.info(ctx)
	if none != nil {
		return append(findings, none...)
	}
	if all := session.Bytes(l.MaxSessions) * l.Memory; info.MemTotal > 0 && int64(all) > info.MemTotal {
		findings = append(findings, warn("memory-overcommitted", "lower MAX_CONCURRENT_SESSIONS or CONTAINER_MEMORY_LIMIT, or give the engine more memory",
			"%d sessions of %s may use %s together, and the engine has %s", l.MaxSessions, l.Memory, all, session.Bytes(info.MemTotal)))
	}
	sessions, none := o.sessions(ctx)
	if none != nil {
		return append(findings, none...)
	}
	if len(sessions) > l.MaxSessions {
		findings = append(findings, warn("more-sessions-than-settings", "stop some; the limit holds for new ones only, and for one installation",
			"%d session containers run on the engine, and the settings allow %d", len(sessions), l.MaxSessions))
	}
	return findings
}
