package config_test

import (
	"strings"
	"testing"

	"berth/internal/config"
	"berth/internal/session"
)

func TestMaximaAreTheDefaultsUnlessRaised(t *testing.T) {
	t.Parallel()
	l := config.Default().Limits
	want := session.Limits{Memory: 4 << 30, CPUs: session.OneCPU, Processes: 512}
	if l.Default() != want || l.Most() != want {
		t.Errorf("got %+v and %+v, want %+v", l.Default(), l.Most(), want)
	}
	l.MaxMemory, l.MaxCPUs, l.MaxPIDs = 8<<30, 2*session.OneCPU, 600
	if got := l.Most(); got != (session.Limits{Memory: 8 << 30, CPUs: 2 * session.OneCPU, Processes: 600}) {
		t.Errorf("got %+v", got)
	}
}

func TestContradictoryLimitsAreFaults(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"memory":         {func(c *config.Config) { c.Limits.MaxMemory = 1 << 30 }, "MAX_SESSION_MEMORY"},
		"CPUs":           {func(c *config.Config) { c.Limits.MaxCPUs = session.OneCPU / 2 }, "MAX_SESSION_CPUS"},
		"processes":      {func(c *config.Config) { c.Limits.MaxPIDs = 100 }, "MAX_SESSION_PIDS"},
		"profile":        {func(c *config.Config) { p := c.Profiles["opencode"]; p.Memory = 8 << 30; c.Profiles["opencode"] = p }, "MAX_SESSION_MEMORY"},
		"profile's pids": {func(c *config.Config) { p := c.Profiles["opencode"]; p.Processes = 5; c.Profiles["opencode"] = p }, "pids is not"},
		"images":         {func(c *config.Config) { c.Session.AllowedImages = "berth/opencode" }, "ALLOWED_IMAGES"},
	} {
		c := config.Default()
		c.Server.StateDir, c.Docker.Host = "/var/lib/berth", "tcp://127.0.0.1:2376"
		row.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want a fault of %s", name, err, row.want)
		}
	}
}
