package commands_test

import (
	"os/exec"
	"testing"
)

// scripts/ensure has functions that are named like the programs that they install.
func TestFunctionIsNoProgram(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"bash": true, "pooler": false} {
		script := `. scripts/lib.sh; pooler() { :; }; have ` + name
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
		cmd.Dir = "../.."
		if found := cmd.Run() == nil; found != want {
			t.Errorf("have %s: got %t, want %t", name, found, want)
		}
	}
}
