package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"berth/internal/servertls"
	"berth/internal/storage"
)

// resourceMonitoring checks that the engine can measure and limit the resources of sessions, that this machine's load can be
// measured and is not critical, and that Berth serves metrics.
func resourceMonitoring(ctx context.Context, o *Options) []Finding {
	return slices.Concat(o.controllers(ctx), o.hostLoad(ctx), o.metrics(ctx))
}

// hostLoad measures this machine's load as Berth does before it starts a session, but only for a moment.
func (o *Options) hostLoad(ctx context.Context) []Finding {
	s, err := o.Load(ctx)
	if err != nil {
		return []Finding{fail("host-not-measured", "let Berth read /proc; until then sessions are started however busy the host is",
			"the load of this machine could not be measured: %v", err)}
	}
	l := o.Config.Limits
	seen := fmt.Sprintf("%.0f %% of this machine's memory and %.0f %% of its CPU time are in use", s.Memory*100, s.CPU*100)
	switch {
	case l.Critical < 1 && (s.Memory >= l.Critical || s.CPU >= l.Critical):
		return []Finding{warn("host-critical", "stop sessions, or see what else keeps the machine busy", "%s: while that lasts no session is started", seen)}
	case s.Memory >= l.MemoryWarning || s.CPU >= l.CPUWarning:
		return []Finding{warn("host-busy", "stop sessions, or see what else keeps the machine busy", "%s", seen)}
	}
	return []Finding{pass("host-measured", "%s", seen)}
}

func (o *Options) controllers(ctx context.Context) []Finding {
	info, none := o.info(ctx)
	if none != nil {
		return none
	}
	var missing []string
	for _, controller := range []struct {
		name string
		here bool
	}{{"memory", info.MemoryLimit}, {"CPU quota", info.CPUCfsQuota && info.CPUCfsPeriod}, {"processes", info.PidsLimit}} {
		if !controller.here {
			missing = append(missing, controller.name)
		}
	}
	if len(missing) > 0 {
		return []Finding{fail("controller-missing", "enable the control group controllers on the engine's host (docker info warns of them; on some systems: "+
			"cgroup_enable=memory on the kernel's command line)", "the engine can neither measure nor limit: %s", strings.Join(missing, ", "))}
	}
	return []Finding{pass("controllers-active", "the engine measures and limits memory, CPU time and processes (cgroup version %s)", cmp.Or(info.CgroupVersion, "unknown"))}
}

// metrics checks the running Berth with these settings, if there is one.
func (o *Options) metrics(ctx context.Context) []Finding {
	address := o.Config.Server.Listen
	if host, port, found := strings.Cut(address, ":"); found && (host == "" || host == "0.0.0.0") {
		address = "127.0.0.1:" + port
	}
	base, trusted := "http://"+address, (*tls.Config)(nil)
	if o.Config.Server.TLS() {
		base = "https://" + address
		var err error
		if trusted, err = servertls.TrustOnly(storage.CertificatesOf(o.Config.Server.StateDir)); err != nil {
			return []Finding{skip("not-serving", "no Berth serves with the state directory %s, so its measurements could not be looked at", o.Config.Server.StateDir)}
		}
	}
	if _, _, _, err := read(ctx, base+"/livez", trusted); err != nil {
		return []Finding{skip("not-serving", "no Berth serves at %s, so its measurements could not be looked at", address)}
	}
	// Without a token a request for the metrics would be refused, and the refusal recorded.
	served, err := describes(ctx, base, trusted, "/metrics")
	switch {
	case err != nil:
		return []Finding{skip("not-serving", "what serves at %s did not answer: %v", address, err)}
	case !served:
		return []Finding{warn("no-metrics", "watch the host of Berth and the engine by other means", "the Berth at %s gives out no measurements (/metrics)", address)}
	}
	return []Finding{pass("metrics-served", "the Berth at %s gives out measurements (/metrics)", address)}
}
