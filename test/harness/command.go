package harness

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Result is how a short command ended.
type Result struct {
	Exit           int
	Stdout, Stderr string
}

// Command runs a berth with this environment and nothing else, in an empty directory, and waits for its end.
func Command(t testing.TB, env map[string]string, args ...string) Result {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), Binary(t), args...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "BERTH_CONFIG=" + os.DevNull}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	exit := &exec.ExitError{}
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
