package access_test

import (
	"net/netip"
	"testing"

	"berth/internal/access"
)

func TestClientIsWhoTrustedProxiesSay(t *testing.T) {
	t.Parallel()
	proxies := access.Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct {
		peer            string
		encrypted       bool
		hops, schemes   []string
		believe         bool
		address, scheme string
	}{
		"direct":                      {"192.0.2.1:5", false, nil, nil, false, "192.0.2.1:5", "http"},
		"direct over TLS":             {"192.0.2.1:5", true, nil, nil, false, "192.0.2.1:5", "https"},
		"untrusted":                   {"192.0.2.1:5", false, []string{"198.51.100.1"}, []string{"https"}, false, "192.0.2.1:5", "http"},
		"untrusted, scheme believed":  {"192.0.2.1:5", false, []string{"198.51.100.1"}, []string{"http, HTTPS"}, true, "192.0.2.1:5", "https"},
		"believed, another scheme":    {"192.0.2.1:5", true, nil, []string{"https,"}, true, "192.0.2.1:5", "http"},
		"trusted":                     {"10.0.0.1:5", false, []string{"192.0.2.1"}, []string{"https"}, false, "192.0.2.1", "https"},
		"trusted, nothing forwarded":  {"10.0.0.1:5", true, nil, nil, false, "10.0.0.1:5", "https"},
		"each proxy adds its own":     {"10.0.0.1:5", false, []string{"192.0.2.1:7, 10.0.0.2"}, []string{"https", "http"}, false, "192.0.2.1:7", "https"},
		"one scheme for a chain":      {"10.0.0.1:5", false, []string{"192.0.2.1, 10.0.0.2"}, []string{"https"}, false, "192.0.2.1", "https"},
		"trusted, no scheme":          {"10.0.0.1:5", true, []string{"192.0.2.1"}, []string{"ftp"}, false, "192.0.2.1", "https"},
		"a socket that has no number": {"@", false, []string{"192.0.2.1"}, []string{"https"}, false, "@", "http"},
	} {
		got := proxies.Client(c.peer, c.encrypted, c.hops, c.schemes, c.believe)
		if got.Address != c.address || got.Scheme != c.scheme {
			t.Errorf("%s: got %s over %s, want %s over %s", name, got.Address, got.Scheme, c.address, c.scheme)
		}
	}
}
