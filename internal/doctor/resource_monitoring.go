package doctor

import (
	"context"
	"net/http"
	"strings"

	"berth/internal/config"
)

// resourceMonitoring looks whether the engine can measure and limit what sessions use, and whether Berth gives out
// measurements.
type resourceMonitoring struct{ Options }

func (resourceMonitoring) Name() string { return "resource-monitoring" }

func (c resourceMonitoring) Run(ctx context.Context) []Finding {
	return append(c.engine(ctx), c.metrics(ctx)...)
}

func (c resourceMonitoring) engine(ctx context.Context) []Finding {
	if c.Config.Session.Runtime == config.RuntimeProcess {
		return c.noTLS()
	}
	info, none := c.info(ctx)
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
	return []Finding{pass("controllers-active", "the engine measures and limits memory, CPU time and processes (cgroup version %s)", orUnknown(info.CgroupVersion))}
}

// metrics looks at the Berth that serves with these settings, if one does.
func (c resourceMonitoring) metrics(ctx context.Context) []Finding {
	address := c.Config.Server.Listen
	if host, port, found := strings.Cut(address, ":"); found && (host == "" || host == "0.0.0.0") {
		address = "127.0.0.1:" + port
	}
	if _, _, err := plainGet(ctx, address, "/livez"); err != nil {
		return []Finding{skip("not-serving", "no Berth serves at %s, so its measurements could not be looked at", address)}
	}
	status, _, err := plainGet(ctx, address, "/metrics")
	switch {
	case err != nil:
		return []Finding{skip("not-serving", "what serves at %s did not answer: %v", address, err)}
	case status == http.StatusNotFound:
		return []Finding{warn("no-metrics", "watch the host of Berth and the engine by other means", "the Berth at %s gives out no measurements (/metrics)", address)}
	}
	return []Finding{pass("metrics-served", "the Berth at %s gives out measurements (/metrics)", address)}
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
