package harness

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	dockerdVariable   = "BERTH_TEST_DOCKERD"
	requireVariable   = "BERTH_TEST_REQUIRE"
	socketVariable    = "BERTH_TEST_DOCKER_SOCKET"
	namespaceVariable = "BERTH_TEST_NAMESPACE" // directory of a test that runs in namespaces of its own
)

// Dockerd returns the program that tests may start as an engine, within [Isolated]. It skips the test when
// BERTH_TEST_DOCKERD is not set or we are not root, and fails it instead when BERTH_TEST_REQUIRE=1.
func Dockerd(t testing.TB) string {
	t.Helper()
	program := os.Getenv(dockerdVariable)
	if program == "" || os.Geteuid() != 0 {
		const why = "needs root, and a dockerd to start: set " + dockerdVariable + " to its path"
		if os.Getenv(requireVariable) == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return program
}

// Isolated runs the test that it is called from, which is no subtest, once more as another process with network, mounts
// and processes of its own, and returns a directory and true there. In the first process it returns false when the
// other has ended. It skips or fails as [Dockerd] does.
//
// An engine makes bridges and firewall rules, and removes those of others. It cannot meet another engine of the machine
// there, and ends with the test. The engine of [New] is there the one that the test starts at "docker.sock" in the
// directory.
func Isolated(t testing.TB) (dir string, inside bool) {
	t.Helper()
	if dir = os.Getenv(namespaceVariable); dir != "" {
		return dir, true
	}
	Dockerd(t)
	// The sockets of the engine's containerd have long names, and a socket's path holds 107 characters.
	home, err := os.MkdirTemp("", "bd") //nolint:usetesting // its path is too long for sockets
	Must(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("remove the engine's directory: %v", err)
		}
	})
	self, err := os.Executable()
	Must(t, err)
	// A shell as first process reaps orphans.
	const prepare = `mount -t proc proc /proc && ip link set lo up && "$@"; exit $?`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", prepare, "sh", self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=9m")
	cmd.Env = append(os.Environ(), namespaceVariable+"="+home, binaryVariable+"="+Binary(t), socketVariable+"="+filepath.Join(home, "docker.sock"))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("in namespaces of its own: %v\n%s", err, output.String())
	}
	t.Logf("%s", output.String())
	return "", false
}
