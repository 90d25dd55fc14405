package dockerd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"berth/test/harness"
)

// killVariable is the number of the change ahead of which a set-up kills itself.
const killVariable = "BERTH_TEST_KILL_AT"

// TestKilledSetUp is the process that TestCrash kills; alone it does nothing.
func TestKilledSetUp(t *testing.T) {
	t.Parallel()
	at, err := strconv.Atoi(os.Getenv(killVariable))
	if err != nil {
		return
	}
	dir, _ := harness.Isolated(t)
	e := &engine{dir: dir, root: filepath.Join(dir, "root"), certs: filepath.Join(dir, "certs")}
	s := e.newSetup(t)
	s.before = func(string) error {
		if at--; at == -1 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	mustApply(t, s)
}

// TestCrash kills a set-up ahead of each of its changes. The next run completes it, or undo takes it back.
func TestCrash(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	before := e.state(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for at, point := range pointsOf(t, e) {
		killed := exec.CommandContext(t.Context(), self, "-test.run=^TestKilledSetUp$")
		killed.Env = append(os.Environ(), killVariable+"="+strconv.Itoa(at))
		out, err := killed.CombinedOutput()
		if status, ok := killed.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("set-up to be killed before %q: %v\n%s", point, err, out)
		}
		if at%2 == 0 {
			s := e.newSetup(t)
			plan := mustPlan(t, s)
			if plan.Resumes != (at > 0) {
				t.Errorf("killed before %q: the next plan resumes: %v", point, plan.Resumes)
			}
			if err := s.Apply(t.Context(), plan); err != nil {
				t.Fatalf("set-up after one that was killed before %q: %v", point, err)
			}
			e.mustBeSecured(t)
			if again, err := e.newSetup(t).Plan(t.Context()); err != nil || !again.Empty() {
				t.Errorf("after completing one that was killed before %q something is left to do: %v, %v", point, again, err)
			}
		}
		if err := e.setup.Undo(t.Context()); err != nil {
			t.Fatalf("undo after a set-up that was killed before %q: %v", point, err)
		}
		mustEqual(t, "undone after a set-up that was killed before "+point, before, e.state(t))
		e.mustBeOpen(t)
	}
}
