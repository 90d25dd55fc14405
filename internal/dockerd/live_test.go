package dockerd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/pki"
	"berth/test/harness"
)

func TestSetUpAndUndo(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	before, first := e.state(t), e.started(t)

	plan := mustPlan(t, e.setup)
	mustEqual(t, "a plan alone changes nothing", before, e.state(t))
	for _, part := range []string{"+++ " + e.paths().config, `+  "tlsverify": true`, `     "labels": ["rack=7"],`, "! -i lo -d 127.0.0.1", "restart the engine"} {
		if !strings.Contains(plan.String(), strings.ReplaceAll(part, "+  ", "+    ")) {
			t.Errorf("the plan does not say %q:\n%s", part, plan)
		}
	}
	if err := e.setup.Apply(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	e.mustBeSecured(t)
	after, second := e.state(t), e.started(t)
	if second == first {
		t.Error("the engine was not restarted")
	}
	if want := "-A INPUT -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 2376 -j DROP"; !strings.Contains(after["iptables"], want) {
		t.Errorf("firewall:\n%swant the rule %s", after["iptables"], want)
	}
	for path, mode := range map[string]string{
		"/etc/docker/certs": "drwx------", "/etc/docker/certs/ca.pem": "-r--r--r--", "/etc/docker/certs/server-cert.pem": "-r--r--r--",
		"/etc/docker/certs/server-key.pem": "-r--------", "/etc/docker/daemon.json": "-rw-r-----", "/etc/docker/berth-setup-tls.json": "-rw-------",
	} {
		if got, _, _ := strings.Cut(after[path], "\n"); got != mode {
			t.Errorf("%s has mode %s, want %s", path, got, mode)
		}
	}
	if backups, err := filepath.Glob(e.paths().config + ".????????T??????Z.bak"); err != nil || len(backups) != 1 {
		t.Errorf("backups of daemon.json: %v, want one with a date", backups)
	}

	again := mustPlan(t, e.newSetup(t))
	if !again.Empty() || len(again.Diffs) > 0 {
		t.Errorf("a second run would do something:\n%s", again)
	}
	if err := e.newSetup(t).Apply(t.Context(), again); err != nil {
		t.Errorf("apply nothing: %v", err)
	}
	mustEqual(t, "a second run changes nothing", after, e.state(t))
	if e.started(t) != second {
		t.Error("a second run restarted the engine")
	}

	e.mustUndo(t, before)
	if plan, err := e.setup.PlanUndo(t.Context()); err != nil || !plan.Empty() {
		t.Errorf("a second undo: %v, %v; want nothing to do", plan, err)
	}
	if err := e.setup.Undo(t.Context()); err != nil {
		t.Errorf("a second undo: %v", err)
	}
}

// mustUndo undoes everything and expects the original state.
func (e *engine) mustUndo(t *testing.T, before map[string]string) {
	t.Helper()
	s := WithoutMaterial(e.host(), Options{RestartCommand: e.setup.opts.RestartCommand, Timeout: e.setup.opts.Timeout})
	s.host = e.setup.host
	if plan, err := s.PlanUndo(t.Context()); err != nil || plan.Empty() {
		t.Fatalf("plan to undo: %v, %v; want steps", plan, err)
	}
	if err := s.Undo(t.Context()); err != nil {
		t.Fatalf("undo: %v", err)
	}
	mustEqual(t, "after the undo", before, e.state(t))
	e.mustBeOpen(t)
}

// TestRenewedCertificate is a set-up on top of another one; undo goes back before the first.
func TestRenewedCertificate(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	before := e.state(t)
	mustApply(t, e.setup)
	if _, err := pki.Init(e.certs, pki.InitOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	e.setup = e.newSetup(t)
	mustApply(t, e.setup)
	e.mustBeSecured(t)
	if backups, err := filepath.Glob(e.paths().certDir + "/*.bak"); err != nil || len(backups) != 0 {
		t.Errorf("backups of certificates that a set-up had written: %v, want none", backups)
	}

	// Whatever fails now goes back to the second certificate, not to no TLS.
	secured := e.state(t)
	old := filepath.Join(dir, "second")
	if err := os.Rename(e.certs, old); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Init(e.certs, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	failing := e.newSetup(t)
	e.fault(t, "silent")
	failing.opts.Timeout /= 10
	plan := mustPlan(t, failing)
	if err := failing.Apply(t.Context(), plan); !isRolledBack(err, stepVerify) {
		t.Fatalf("apply with an engine that does not start: %v, want it to be rolled back", err)
	}
	mustEqual(t, "after the rollback", secured, e.state(t))
	if err := os.RemoveAll(e.certs); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, e.certs); err != nil {
		t.Fatal(err)
	}
	e.mustBeSecured(t)

	// Later changes by others to daemon.json are kept by an undo, and none of Berth's.
	edited := strings.Replace(string(read(t, e.paths().config)), `"max-concurrent-uploads": 2`, `"max-concurrent-uploads": 3`, 1)
	e.write(t, e.paths().config, edited)
	s := WithoutMaterial(e.host(), e.setup.opts)
	if err := s.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.mustBeOpen(t)
	before["/etc/docker/daemon.json"] = strings.Replace(before["/etc/docker/daemon.json"], `"max-concurrent-uploads": 2`, `"max-concurrent-uploads": 3`, 1)
	mustEqual(t, "after the undo of an edited configuration", before, e.state(t))
}

func isRolledBack(err error, step string) bool {
	failed, ok := errors.AsType[*FailedError](err)
	return ok && failed.Back == nil && failed.Step == step
}

// TestRollback lets every change of a set-up fail once, and then the engine in every way. Each time the files must be as before,
// byte by byte, and the engine must answer as before.
func TestRollback(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	before := e.state(t)
	points := pointsOf(t, e)
	mustEqual(t, "after counting the points", before, e.state(t))
	if len(points) < 15 {
		t.Fatalf("only %d points at which a set-up can fail, %q: the hook no longer sees the changes", len(points), points)
	}
	injected := errors.New("injected fault")
	for at, point := range points {
		s := e.newSetup(t)
		left := at
		s.before = func(string) error {
			if left--; left == -1 {
				return injected
			}
			return nil
		}
		plan := mustPlan(t, s)
		err := s.Apply(t.Context(), plan)
		failed, ok := errors.AsType[*FailedError](err)
		if !ok || !errors.Is(err, injected) || failed.Back != nil {
			t.Fatalf("fault before %q: %v, want it to be rolled back", point, err)
		}
		mustEqual(t, "after a fault before "+point, before, e.state(t))
		e.mustBeOpen(t)
	}

	for fault, step := range map[string]string{"fails": stepRestart, "silent": stepVerify, "lax": stepVerify} {
		e.fault(t, fault)
		s := e.newSetup(t)
		s.opts.Timeout /= 4
		plan := mustPlan(t, s)
		if err := s.Apply(t.Context(), plan); !isRolledBack(err, step) {
			t.Errorf("restart that is %s: %v, want it to be rolled back in the step %s", fault, err, step)
		}
		mustEqual(t, "after a restart that is "+fault, before, e.state(t))
		e.mustBeOpen(t)
	}
}

// pointsOf are the changes of a set-up, recorded by making one and undoing it.
func pointsOf(t *testing.T, e *engine) []string {
	t.Helper()
	var points []string
	s := e.newSetup(t)
	s.before = func(point string) error {
		points = append(points, point)
		return nil
	}
	mustApply(t, s)
	s.before = func(string) error { return nil }
	if err := s.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	return points
}
