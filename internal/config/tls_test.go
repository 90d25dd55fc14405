package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCertificatesAndKeysArePaired(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cert, key, redirect string
		want                []KeyPair
		fault               string // "": none
	}{
		"none":                  {},
		"one":                   {cert: "a.pem", key: "a-key.pem", want: []KeyPair{{"a.pem", "a-key.pem"}}},
		"two, with spaces":      {cert: "a.pem, b.pem", key: "a-key.pem ,b-key.pem", redirect: ":80", want: []KeyPair{{"a.pem", "a-key.pem"}, {"b.pem", "b-key.pem"}}},
		"no key":                {cert: "a.pem", fault: "BERTH_TLS_KEY"},
		"no certificate":        {key: "a.pem", fault: "BERTH_TLS_KEY"},
		"one key too few":       {cert: "a.pem,b.pem", key: "a-key.pem", fault: "2 certificates and 1 keys"},
		"an empty name":         {cert: "a.pem,", key: "a.pem,b.pem", fault: "BERTH_TLS_CERT", want: []KeyPair{{"a.pem", "a.pem"}, {"", "b.pem"}}},
		"redirect to nowhere":   {redirect: "0.0.0.0:80", fault: "there is no https"},
		"redirect from itself":  {cert: "a", key: "b", redirect: "127.0.0.1:8080", fault: "another address", want: []KeyPair{{"a", "b"}}},
		"redirect without port": {cert: "a", key: "b", redirect: "0.0.0.0", fault: "BERTH_REDIRECT_LISTEN", want: []KeyPair{{"a", "b"}}},
	} {
		cfg, err := Load(Options{Overrides: map[string]string{
			"BERTH_TLS_CERT": tc.cert, "BERTH_TLS_KEY": tc.key, "BERTH_REDIRECT_LISTEN": tc.redirect, "BERTH_STATE_DIR": "/x",
		}})
		if diff := cmp.Diff(tc.want, cfg.Server.KeyPairs()); len(tc.want)+len(cfg.Server.KeyPairs()) > 0 && diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if tc.fault == "" && err != nil || tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)) {
			t.Errorf("%s: got %v, want a fault with %q", name, err, tc.fault)
		}
	}
}

func TestCertificatesAreObtainedForNamesOnly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		set   map[string]string
		fault string // "": none
	}{
		"own name":       {map[string]string{"BERTH_PUBLIC_URL": "https://berth.example"}, ""},
		"a hook":         {map[string]string{"BERTH_PUBLIC_URL": "https://berth.example", "BERTH_ACME_DNS_HOOK": "/usr/local/bin/hook"}, ""},
		"no name":        {nil, "needs BERTH_PUBLIC_URL"},
		"plain HTTP":     {map[string]string{"BERTH_PUBLIC_URL": "http://berth.example"}, "needs BERTH_PUBLIC_URL"},
		"an address":     {map[string]string{"BERTH_PUBLIC_URL": "https://192.0.2.1"}, "needs BERTH_PUBLIC_URL"},
		"no address":     {map[string]string{"BERTH_PUBLIC_URL": "https://berth.example", "BERTH_ACME_EMAIL": "operator"}, "must be an e-mail address"},
		"plain CA":       {map[string]string{"BERTH_PUBLIC_URL": "https://berth.example", "BERTH_ACME_CA": "http://ca.example"}, "must begin with https://"},
		"a relative one": {map[string]string{"BERTH_PUBLIC_URL": "https://berth.example", "BERTH_ACME_DNS_HOOK": "hook"}, "absolute path"},
		"no account":     {map[string]string{"BERTH_ACME_EMAIL": "", "BERTH_ACME_DNS_HOOK": "/hook"}, "needs BERTH_ACME_EMAIL"},
	} {
		all := map[string]string{"BERTH_ACME_EMAIL": "operator@example.com", "BERTH_STATE_DIR": "/x"}
		for variable, value := range tc.set {
			all[variable] = value
		}
		cfg, err := Load(Options{Overrides: all})
		if tc.fault == "" && err != nil || tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)) {
			t.Errorf("%s: got %v, want a fault with %q", name, err, tc.fault)
		}
		if tls := all["BERTH_ACME_EMAIL"] != ""; cfg.Server.TLS() != tls {
			t.Errorf("%s: TLS: got %v, want %v", name, cfg.Server.TLS(), tls)
		}
	}
}

func TestListenerWithoutEncryptionIsWarnedOf(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		server Server
		warns  bool
	}{
		"loopback":     {Server{Listen: "127.0.0.1:80"}, false},
		"public":       {Server{Listen: "0.0.0.0:80"}, true},
		"public, TLS":  {Server{Listen: "0.0.0.0:443", TLSCert: "a", TLSKey: "b"}, false},
		"loopback TLS": {Server{Listen: "127.0.0.1:443", TLSCert: "a", TLSKey: "b"}, false},
	} {
		cfg := Default()
		cfg.Server = tc.server
		if got := strings.Contains(strings.Join(cfg.Warnings(), "\n"), "not encrypted"); got != tc.warns {
			t.Errorf("%s: warned %v, want %v", name, got, tc.warns)
		}
	}
}
