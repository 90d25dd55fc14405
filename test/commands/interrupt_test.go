package commands_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// interrupted runs `make run` in the foreground, presses Ctrl-C when it has said what, and returns all that it said.
func (c *checkout) interrupted(what string) string {
	c.t.Helper()
	cmd := exec.Command("make", "--no-print-directory", "run")
	cmd.Dir, cmd.Env = c.dir, append(c.env, "DETACH=")
	said := filepath.Join(c.dir, "said")
	out, err := os.Create(said)
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal signals the whole group
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	deadline := time.After(3 * time.Minute)
	for {
		text, err := os.ReadFile(said)
		if err != nil {
			c.t.Fatal(err)
		}
		if bytes.Contains(text, []byte(what)) {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			c.t.Fatalf("make run ended before it said %q:\n%s", what, text)
		case <-deadline:
			c.t.Fatalf("make run did not say %q:\n%s", what, text)
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		c.t.Fatal("make run does not end within a minute of Ctrl-C")
	}
	text, err := os.ReadFile(said)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// alive lists the berth processes of this checkout.
func (c *checkout) alive() []string {
	var found []string
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, program := range programs {
		if target, err := os.Readlink(program); err == nil && strings.HasPrefix(target, filepath.Join(c.dir, "bin")) {
			found = append(found, program)
		}
	}
	return found
}

func TestCtrlCStopsBerthAndNotTheSession(t *testing.T) {
	t.Parallel()
	c := processCheckout(t)
	for _, moment := range []string{"create the first session", "Ctrl-C stops Berth"} {
		said := c.interrupted(moment)
		// make may be gone a moment before what it has started.
		harness.Eventually(t, 20*time.Second, "nothing is left by a Ctrl-C at "+moment, func() error {
			if left := c.alive(); len(left) > 0 {
				return fmt.Errorf("%v run:\n%s", left, said)
			}
			return nil
		})
	}
	lines := promised(t, c.make("run"))
	if err := healthy(lines); err != nil {
		t.Error(err)
	}
}
