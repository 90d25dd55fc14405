package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/session"
)

func loadText(t *testing.T, text string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Options{File: file, Environ: []string{"HOME=" + t.TempDir()}})
}

func TestEgressListsAreReadFromTheFile(t *testing.T) {
	t.Parallel()
	cfg, err := loadText(t, "egress:\n  idle_timeout: 2h\n  lists:\n    ours: [docs.example.com, \"*.example.com:8443\"]\n  private: [\"10.1.2.0/24:5432\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := cfg.Egress.Policy()
	if err != nil {
		t.Fatal(err)
	}
	caller := session.Caller{Egress: session.EgressListed, Allow: []string{"ours"}}
	if v := policy.JudgeName(caller, "docs.example.com"); !v.Allowed {
		t.Errorf("a name of the operator's list is refused: %s", v.Sentence)
	}
	if v := policy.JudgeName(caller, "pypi.org"); v.Allowed {
		t.Error("a name of a list that the session does not have is allowed")
	}
	if got := cfg.Egress.Limits(); got.Idle.Hours() != 2 || got.Connections != 2048 || got.PerSession != 256 {
		t.Errorf("limits: got %+v, want 2 hours and the defaults", got)
	}
	if changed := Changed(Default(), cfg); !strings.Contains(strings.Join(changed, " "), "egress") {
		t.Errorf("changed settings: got %q, want egress among them", changed)
	}
}

func TestEgressReportsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, "egress:\n  max_connections: 10\n  max_connections_per_session: 20\n  idle_timeout: 1\n  lists:\n    packages: []\n    ours: [bad..name, \"a.example:0\"]\n  private: [\"0.0.0.0/0:80\"]\n")
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"EGRESS_MAX_CONNECTIONS_PER_SESSION", "EGRESS_IDLE_TIMEOUT", "packages", "bad..name", "a.example:0", "0.0.0.0/0:80"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the faults do not name %s:\n%v", want, err)
		}
	}
}

func TestProfileMayAllowKnownListsOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode  session.EgressMode
		allow []string
		fault string
	}{
		{"", []string{"packages", "forges", "a.example:443"}, ""},
		{session.EgressListed, nil, ""},
		{"", []string{"pakages"}, "pakages"},
		{"", []string{"10.0.0.0/8:80"}, "egress.private"},
		{session.EgressNone, []string{"packages"}, "egress listed"},
	} {
		cfg := Default()
		p := cfg.Profiles["opencode"]
		p.Egress, p.EgressAllow = c.mode, c.allow
		cfg.Profiles["opencode"] = p
		v := &checker{}
		v.egress(cfg)
		err := faultsError(v.faults)
		if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("egress %q with %q: got %v, want a fault about %q", c.mode, c.allow, err, c.fault)
		}
	}
}
