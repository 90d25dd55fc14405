package dockerd

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/system"

	"berth/internal/pki"
)

func TestSetUpByServiceScript(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	before := m.state(t)
	mustApply(t, m.setup(t))
	if err := m.setup(t).Verify(t.Context()); err != nil {
		t.Errorf("after the set-up: %v", err)
	}
	if plan, err := m.setup(t).Plan(t.Context()); err != nil || !plan.Empty() {
		t.Errorf("a second run: %v, %v; want nothing to do", plan, err)
	}
	if !slices.Contains(m.ran, "service docker restart") || len(m.rules) != 5 || len(m.chains) != 4 {
		t.Errorf("ran %q with the rules %v; want the service script, one rule, and those that enter the chains", m.ran, m.rules)
	}
	if err := WithoutMaterial(m.host(), Options{}).Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "after the undo", before, m.state(t))
}

// TestUnsuitableMachinesAreRefused has every reason that prevents a set-up, with what to do about it.
func TestUnsuitableMachinesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		make   func(*testing.T, *machine, *Options)
		says   string
		advice string
	}{
		{"malformed configuration", func(t *testing.T, m *machine, _ *Options) {
			put(t, m.root, "/etc/docker/daemon.json", `{"a": 1,}`)
		}, "daemon.json is malformed", "correct it"},
		{"configuration that is a link", func(t *testing.T, m *machine, _ *Options) {
			config := filepath.Join(m.root, "/etc/docker/daemon.json")
			if err := errors.Join(os.Rename(config, config+".real"), os.Symlink(config+".real", config)); err != nil {
				t.Fatal(err)
			}
		}, "is a link", "the file itself"},
		{"unassigned address", func(_ *testing.T, _ *machine, o *Options) {
			o.Listen = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:2376")}
		}, "no network interface has the address 192.0.2.1", "--listen"},
		{"address of the containers' bridge", func(_ *testing.T, m *machine, o *Options) {
			m.interfaces["172.17.0.1"] = "docker0"
			o.Listen = []netip.AddrPort{netip.MustParseAddrPort("172.17.0.1:2376")}
		}, "every container could reach the engine", "berth guard"},
		{"address in use", func(t *testing.T, m *machine, _ *Options) {
			l, err := net.Listen("tcp", m.listen.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "is in use", "stop what listens there"},
		{"no way to restart the engine", func(t *testing.T, m *machine, _ *Options) {
			if err := os.Remove(filepath.Join(m.root, "/etc/init.d/docker")); err != nil {
				t.Fatal(err)
			}
		}, "neither systemd nor", "--restart-command"},
		{"addresses in DOCKER_OPTS", func(t *testing.T, m *machine, _ *Options) {
			put(t, m.root, "/etc/default/docker", `DOCKER_OPTS="-H tcp://0.0.0.0:2375"`)
		}, "DOCKER_OPTS", "remove --host"},
		{"flag that contradicts", func(t *testing.T, m *machine, _ *Options) {
			put(t, m.root, "/etc/default/docker", `DOCKER_OPTS="--iptables=false"`)
		}, "sets --iptables", "remove the flag"},
		{"no engine", func(_ *testing.T, m *machine, _ *Options) {
			m.fail["dockerd"] = exec.ErrNotFound
		}, "ask dockerd for its version", "engine's own machine"},
		{"no firewall", func(_ *testing.T, m *machine, _ *Options) {
			m.fail["iptables"] = exec.ErrNotFound
		}, "firewall rule", "--no-firewall"},
		{"undo that was interrupted", func(t *testing.T, m *machine, _ *Options) {
			put(t, m.root, "/etc/docker/berth-setup-tls.json", `{"version": 1, "state": "undoing"}`)
		}, "an undo was interrupted", "--undo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			o := m.setup(t).opts
			tt.make(t, m, &o)
			before := m.state(t)
			s, err := New(m.host(), o)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := s.Plan(t.Context())
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok {
				t.Fatalf("plan: %v, %v; want it to be refused", plan, err)
			}
			if !strings.Contains(refused.Error(), tt.says) || !strings.Contains(refused.Hint(), tt.advice) {
				t.Errorf("refused because %q, hint %q; want them to say %q and %q", refused, refused.Hint(), tt.says, tt.advice)
			}
			mustEqual(t, "after the refusal", before, m.state(t))
		})
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.info = system.Info{ServerVersion: "20.10.24", ContainersRunning: 3}
	m.info.Swarm.LocalNodeState = "active"
	put(t, m.root, "/etc/docker/daemon.json", `{"bridge": "none"}`)
	s := m.setup(t)
	plan := mustPlan(t, s)
	text := plan.String()
	for _, part := range []string{"the restart stops 3 running containers", "excludes live-restore", `keeps "bridge": "none"`, "gone after a reboot"} {
		if !strings.Contains(text, part) {
			t.Errorf("the plan does not say %q:\n%s", part, text)
		}
	}
	if strings.Contains(text, `"live-restore"`) || plan.Version != "20.10.24" {
		t.Errorf("plan of version %q:\n%swant no live-restore in a Swarm", plan.Version, text)
	}
}

func TestNewerEngineValidatesConfiguration(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.version = "Docker version 28.5.2, build abc\n"
	m.fail["dockerd --validate --config-file"] = exitError(1)
	before := m.state(t)
	s := m.setup(t)
	plan := mustPlan(t, s)
	if err := s.Apply(t.Context(), plan); !isRolledBack(err, stepValidate) {
		t.Fatalf("apply: %v, want it to be rolled back in the step %s", err, stepValidate)
	}
	mustEqual(t, "after the rollback", before, m.state(t))
	if slices.Contains(m.ran, "service docker restart") {
		t.Error("the engine was restarted although it had not read anything new")
	}
	clear(m.fail)
	mustApply(t, m.setup(t))
	if !slices.ContainsFunc(m.ran, func(l string) bool { return strings.HasPrefix(l, "dockerd --validate --config-file ") }) {
		t.Errorf("ran %q, want the engine's own validation", m.ran)
	}
}

func TestOutdatedPlanIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := m.setup(t)
	plan := mustPlan(t, s)
	put(t, m.root, "/etc/docker/daemon.json", `{"debug": true}`)
	before := m.state(t)
	if err := s.Apply(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "has changed since the plan was made") {
		t.Errorf("apply: %v, want it to be refused", err)
	}
	mustEqual(t, "after the refusal", before, m.state(t))
}

func TestSecondSetUpIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := m.setup(t)
	plan := mustPlan(t, s)
	unlock, err := s.lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "another set-up is running") {
		t.Errorf("apply beside another one: %v, want it to be refused", err)
	}
	unlock()
	if err := s.Apply(t.Context(), plan); err != nil {
		t.Errorf("apply after the other one: %v", err)
	}
}

func TestChangedAddressRemovesOldRule(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	mustApply(t, m.setup(t))
	m.interfaces["127.0.0.2"] = "lo"
	s := m.setup(t)
	s.opts.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), m.listen.Port())}
	mustApply(t, s)
	if len(m.rules) != 5 || !m.rules[func() string { r, _ := rulesFor(s.opts.Listen, nil); return r[0].String() }()] {
		t.Errorf("rules: %v, want the one of the new address", m.rules)
	}
	s.opts.NoFirewall = true
	mustApply(t, s)
	if len(m.rules)+len(m.chains) != 0 {
		t.Errorf("rules with --no-firewall: %v and %v, want none", m.rules, m.chains)
	}
}

func TestInvalidOptionsAreRejected(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	good := m.setup(t).opts
	other := filepath.Join(t.TempDir(), "other")
	if _, err := pki.Init(other, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	theirs := material(t, other)
	for name, change := range map[string]func(*Options){
		"key of another certificate":  func(o *Options) { o.Server.Key = theirs.Server.Key },
		"server of another authority": func(o *Options) { o.Server.CA = theirs.Server.CA },
		"client of another authority": func(o *Options) { o.Client = theirs.Client },
		"no way to verify the engine": func(o *Options) { o.Verify = nil },
		"no client":                   func(o *Options) { o.Client = nil },
		"no authority":                func(o *Options) { o.Server.CA = nil },
	} {
		o := good
		change(&o)
		if _, err := New(m.host(), o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestForeignJournalsAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{}", `{"version": 2}`, `{"version": 1, "more": true}`, `{"version": 1} x`} {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if j, err := loadJournal(path); err == nil {
			t.Errorf("%q was read as %+v", text, j)
		}
	}
	if j, err := loadJournal(filepath.Join(t.TempDir(), "none")); j != nil || err != nil {
		t.Errorf("no journal: %v, %v", j, err)
	}
}

// TestJournalFormatIsStable holds the journal to the layout that set-ups of earlier versions wrote: undo must read it.
func TestJournalFormatIsStable(t *testing.T) {
	t.Parallel()
	const text = `{
  "version": 1,
  "state": "applied",
  "endpoint": "unix:///var/run/docker.sock",
  "files": [
    {
      "path": "/etc/docker/certs",
      "absent": true,
      "uid": 0,
      "gid": 0
    }
  ],
  "rules": [
    {
      "program": "iptables",
      "match": [
        "-j",
        "DROP"
      ]
    }
  ],
  "isolated": true,
  "written": [
    "ab"
  ],
  "run": {
    "started": "2026-01-02T03:04:05Z",
    "endpoint": "unix:///run/other.sock",
    "files": [
      {
        "path": "/etc/docker/daemon.json",
        "mode": 416,
        "uid": 0,
        "gid": 0,
        "sha256": "cd",
        "backup": "/etc/docker/daemon.json.bak"
      }
    ],
    "rules": [
      {
        "program": "ip6tables",
        "chain": "FORWARD",
        "match": null
      }
    ],
    "isolated": true,
    "restarting": true
  }
}
`
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := loadJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.save(path); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(read(t, path))); diff != "" {
		t.Errorf("journal written again (-want +got):\n%s", diff)
	}
}
