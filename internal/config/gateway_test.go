package config

import (
	"strings"
	"testing"
)

func TestSubnetsArePrivateAndApart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		internal, open, fault string
	}{
		"chosen":           {Auto, Auto, ""},
		"set":              {"10.1.0.0/16", "192.168.5.0/28", ""},
		"one chosen":       {"172.20.0.0/24", Auto, ""},
		"public":           {"93.184.0.0/16", Auto, "SESSION_SUBNET"},
		"carrier's":        {"100.64.0.0/16", Auto, "SESSION_SUBNET"},
		"too wide":         {"10.0.0.0/8", Auto, "SESSION_SUBNET"},
		"too narrow":       {"10.0.0.0/29", Auto, "SESSION_SUBNET"},
		"host bits":        {"10.0.0.1/24", Auto, "SESSION_SUBNET"},
		"IPv6":             {"fd00::/64", Auto, "SESSION_SUBNET"},
		"mapped":           {"::ffff:10.0.0.0/120", Auto, "SESSION_SUBNET"},
		"empty":            {"", Auto, "SESSION_SUBNET"},
		"open one invalid": {Auto, "10.0.0.0", "SESSION_OPEN_SUBNET"},
		"overlapping":      {"10.1.0.0/16", "10.1.2.0/24", "SESSION_OPEN_SUBNET"},
	} {
		c := &checker{}
		cfg := Default()
		cfg.Session.Subnet, cfg.Session.OpenSubnet = test.internal, test.open
		c.gateway(cfg)
		var got []string
		for _, f := range c.faults {
			got = append(got, f.Variable)
		}
		if strings.Join(got, " ") != test.fault {
			t.Errorf("%s: faults of %q, want of %q", name, got, test.fault)
		}
	}
}

func TestGatewayPortIsNoneOfItsOthers(t *testing.T) {
	t.Parallel()
	for port, faults := range map[int]int{8081: 0, 1: 0, 0: 1, 65536: 1, 53: 1, 443: 1} {
		c := &checker{}
		cfg := Default()
		cfg.Gateway.Port = port
		if c.gateway(cfg); len(c.faults) != faults {
			t.Errorf("port %d: %v, want %d faults", port, c.faults, faults)
		}
	}
}

// Sessions may reach the gateway's port. Another listener of all addresses would be what they reach there.
func TestGatewaysPortIsItsOwn(t *testing.T) {
	t.Parallel()
	for address, conflicts := range map[string]bool{
		"0.0.0.0:8081": true, ":8081": true, "[::]:8081": true, "127.0.0.1:8081": false, "192.0.2.1:8081": false, "0.0.0.0:8080": false, "": false,
	} {
		for _, set := range []func(*Config){
			func(c *Config) { c.Server.Listen = address }, func(c *Config) { c.Server.RedirectListen = address },
		} {
			cfg := Default()
			set(&cfg)
			c := &checker{}
			c.gateway(cfg)
			if got := len(c.faults) > 0; got != conflicts {
				t.Errorf("%q: faults %v, want some: %v", address, c.faults, conflicts)
			}
			cfg.Gateway.Enabled = false
			c = &checker{}
			if c.gateway(cfg); len(c.faults) > 0 {
				t.Errorf("%q without a gateway: faults %v", address, c.faults)
			}
		}
	}
}

// What "berth config show" prints in place of a secret is not sent to anybody as one.
func TestPlaceholderIsNoKey(t *testing.T) {
	t.Parallel()
	c := &checker{}
	c.key("models.providers.p.key", "[redacted]")
	c.key("fine", "a-key")
	c.key("none", "")
	if len(c.faults) != 1 || c.faults[0].Variable != "models.providers.p.key" {
		t.Errorf("faults %v, want one, of the placeholder", c.faults)
	}
}
