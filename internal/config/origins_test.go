package config

import "testing"

func TestOriginsOfClientsAreOrigins(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"": true, "https://app.example.com": true, "oc://renderer, http://10.0.0.1:3000": true, "*": false, "null": false,
		"https://app.example.com/": false, "https://App.example.com": false, "https://u@app.example.com": false, "app.example.com": false,
	} {
		cfg := Default()
		cfg.Session.CrossOrigins = text
		v := &checker{}
		v.origins(cfg)
		if got := len(v.faults) == 0; got != want {
			t.Errorf("%q: got %v, want %v", text, v.faults, want)
		}
	}
}

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
