package config

import "testing"

func TestAddressesOfBerthAndSessionsFitTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		public, domain string
		fault          string // the variable; empty: none
	}{
		{"", "", ""},
		{"https://berth.example.com", "", ""},
		{"https://berth.example.com/", "sessions.example.com", ""},
		{"https://Berth.example.com", "berth-sessions.net:8443", ""},
		{"http://10.0.0.1:8080", "sessions.example.com", ""},
		{"https://berth.example.com", "berth.example.com", "SESSION_DOMAIN"},
		{"https://berth.example.com", "example.com", "SESSION_DOMAIN"},
		{"https://berth.example.com", "Sessions.example.com", "SESSION_DOMAIN"},
		{"https://berth.example.com", "*.example.org", "SESSION_DOMAIN"},
		{"https://berth.example.com", "sessions.example.com:0", "SESSION_DOMAIN"},
		{"https://berth.example.com", "sessions.example.com.", "SESSION_DOMAIN"},
		{"", "sessions.example.com", "SESSION_DOMAIN"},
		{"berth.example.com", "", "BERTH_PUBLIC_URL"},
		{"ftp://berth.example.com", "", "BERTH_PUBLIC_URL"},
		{"https://berth.example.com/path", "", "BERTH_PUBLIC_URL"},
		{"https://user@berth.example.com", "", "BERTH_PUBLIC_URL"},
		{"https://", "", "BERTH_PUBLIC_URL"},
	} {
		cfg := Default()
		cfg.Server.PublicURL, cfg.Session.Domain = c.public, c.domain
		v := &checker{}
		v.origins(cfg)
		got := ""
		if len(v.faults) > 0 {
			got = v.faults[0].Variable
		}
		if got != c.fault {
			t.Errorf("public %q and domain %q: got a fault of %q, want %q", c.public, c.domain, got, c.fault)
		}
	}
}
