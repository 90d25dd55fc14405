package dockerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/test/harness"
)

// systemd imitates the real one: it has one unit with its drop-ins, as last read, and starts the engine
// with the command line that results.
type systemd struct {
	e      *engine
	t      *testing.T
	unit   string // what it has read
	served int    // restarts
	fail   string // subcommand that fails, once
}

// useSystemd lets systemd run the machine. Its unit says -H, as a distribution's does.
func (e *engine) useSystemd(t *testing.T) *systemd {
	t.Helper()
	e.write(t, e.unitFile(), e.fill(t,
		"[Unit]\nDescription=Engine\n[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=DOCKERD -H unix://DIR/docker.sock --config-file=CONFIG "+
			engineFlags+" $DOCKER_OPTS\nRestart=on-failure\n"))
	if err := os.MkdirAll(e.paths().systemd, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &systemd{e: e, t: t}
	if _, err := s.run(t.Context(), "daemon-reload"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (e *engine) unitFile() string {
	return filepath.Join(e.root, "/lib/systemd/system/docker.service")
}

// host is the engine's host with this systemd.
func (s *systemd) host() Host {
	h := s.e.host()
	machine := h.Run
	h.Run = func(ctx context.Context, name string, args ...string) (string, error) {
		if name == "systemctl" {
			return s.run(ctx, args...)
		}
		return machine(ctx, name, args...)
	}
	return h
}

func (s *systemd) run(ctx context.Context, args ...string) (string, error) {
	if s.fail != "" && args[0] == s.fail {
		s.fail = ""
		return "", errors.New("systemctl " + args[0] + ": injected fault")
	}
	switch args[0] {
	case "cat":
		return s.cat(), nil
	case "daemon-reload":
		s.unit = s.cat()
	case "restart":
		s.served++
		u := parseUnit(s.unit, "")
		if out, err := s.commands(ctx, "ExecStartPre="); err != nil {
			return out, err
		}
		start := `sh "$1"; setsid nohup ` + u.start[0] + ` >>"$2" 2>&1 </dev/null & echo $! >"$3"`
		if out, err := runProgram(ctx, "sh", "-c", start, "sh", s.e.stopScript(), filepath.Join(s.e.dir, "log"), s.e.pid); err != nil {
			return out, err
		}
		// The unit is of the type notify: it has started when the engine says so.
		if err := s.e.setup.poll(ctx, func(ctx context.Context) error { return s.e.setup.answers(ctx, "unix://"+s.e.socket) }); err != nil {
			return "", err
		}
		return s.commands(ctx, "ExecStartPost=")
	}
	return "", nil
}

// commands runs the commands of a setting. Those behind a dash may fail.
func (s *systemd) commands(ctx context.Context, setting string) (string, error) {
	for line := range strings.Lines(s.unit) {
		command, found := strings.CutPrefix(line, setting)
		if !found {
			continue
		}
		command, ignored := strings.CutPrefix(command, "-")
		if out, err := runProgram(ctx, "sh", "-c", command); err != nil && !ignored {
			return out, err
		}
	}
	return "", nil
}

// cat prints the unit and its drop-ins as "systemctl cat" does.
func (s *systemd) cat() string {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(s.e.paths().dropIn), "*.conf"))
	if err != nil {
		s.t.Fatal(err)
	}
	var text strings.Builder
	for _, file := range append([]string{s.e.unitFile()}, files...) {
		text.WriteString("# " + file + "\n" + string(read(s.t, file)) + "\n")
	}
	return text.String()
}

// TestSystemd is about the conflict of hosts in daemon.json with -H in the unit: an engine that has both does not start.
func TestSystemd(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	e.write(t, e.paths().config, "{}")
	s := e.useSystemd(t)
	if _, err := s.run(t.Context(), "restart"); err != nil {
		t.Fatal(err)
	}
	e.await(t)
	newSetup := func() *Setup {
		o := e.options(t)
		o.RestartCommand = ""
		setup, err := New(s.host(), o)
		if err != nil {
			t.Fatal(err)
		}
		return setup
	}
	e.setup = newSetup()
	before := e.state(t)

	for _, fail := range []string{"daemon-reload", "restart"} {
		setup := newSetup()
		plan := mustPlan(t, setup)
		s.fail = fail
		if err := setup.Apply(t.Context(), plan); !isRolledBack(err, map[string]string{"daemon-reload": stepDropIn, "restart": stepRestart}[fail]) {
			t.Errorf("failing %s: %v, want it to be rolled back", fail, err)
		}
		mustEqual(t, "after a failing "+fail, before, e.state(t))
		if s.unit != s.cat() {
			t.Errorf("failing %s: systemd has not read the restored unit", fail)
		}
		e.mustBeOpen(t)
	}

	mustApply(t, e.setup)
	e.mustBeSecured(t)
	after := e.state(t)
	dropIn := after["/etc/systemd/system/docker.service.d/zz-berth-tls.conf"]
	for _, part := range []string{
		"[Service]", "\nExecStart=\nExecStart=" + harness.Dockerd(t) + " --config-file=" + e.paths().config + " --data-root ", " $DOCKER_OPTS\n",
		"ExecStartPre=/bin/sh -c 'iptables -w -C INPUT ! -i lo -d 127.0.0.1 -p tcp --dport 2376 -j DROP 2>/dev/null || iptables -w -I INPUT ",
	} {
		if !strings.Contains(dropIn, part) {
			t.Errorf("drop-in:\n%swant it to hold %q", dropIn, part)
		}
	}
	if strings.Contains(dropIn, "-H ") {
		t.Errorf("drop-in:\n%swant no -H", dropIn)
	}
	if strings.Count(after["iptables"], "2376") != 1 {
		t.Errorf("firewall:\n%swant the rule once", after["iptables"])
	}
	restarts := s.served
	if plan, err := newSetup().Plan(t.Context()); err != nil || !plan.Empty() || s.served != restarts {
		t.Errorf("a second run: %v, %v, %d restarts; want nothing to do", plan, err, s.served-restarts)
	}

	for _, rule := range []string{"-A INPUT -j BERTH-INPUT", "-A DOCKER-USER -j BERTH-FORWARD", "-A BERTH-INPUT -i berth+ -j DROP"} {
		if !strings.Contains(after["iptables"], rule) {
			t.Errorf("firewall:\n%swant %s: the machine is to be closed to sessions", after["iptables"], rule)
		}
	}

	// As after a reboot: only the drop-in is left to bring the rules back.
	if err := errors.Join(e.setup.deleteRules(t.Context(), rulesOf(t, e)), e.setup.Open(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := e.state(t)["iptables"]; strings.Contains(got, "BERTH") {
		t.Fatalf("firewall that was to be emptied: %s", got)
	}
	if _, err := s.run(t.Context(), "restart"); err != nil {
		t.Fatal(err)
	}
	// The engine enters DOCKER-USER first in FORWARD, and ours stands first there: a jump of FORWARD's own is then not needed.
	direct := strings.NewReplacer("-A FORWARD -j BERTH-FORWARD\n", "")
	if got, want := direct.Replace(e.state(t)["iptables"]), direct.Replace(after["iptables"]); got != want {
		t.Errorf("firewall after a restart without it: %s\nwant %s", got, want)
	}
	e.await(t)
	if plan, err := newSetup().Plan(t.Context()); err != nil || !plan.Empty() {
		t.Errorf("after a restart without the rules: %v, %v; want nothing to do", plan, err)
	}
	e.mustUndo(t, before)
}

func rulesOf(t *testing.T, e *engine) []Rule {
	t.Helper()
	j, err := loadJournal(e.paths().journal)
	if err != nil || j == nil {
		t.Fatalf("journal: %v, %v", j, err)
	}
	return j.first().Rules
}
