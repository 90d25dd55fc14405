package attach_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/test/harness"
)

// programs runs the user's programs on a machine that resolves the names of the test and no others: in a mount namespace, with an
// /etc/hosts of its own instead of a DNS.
type programs struct {
	dir     string // with the user's files
	environ []string
}

// newPrograms is the machine of a user who has a session's token. It skips the test where there is no OpenCode or no curl to run, or
// we are not root, and fails it instead when BERTH_TEST_REQUIRE=1.
func newPrograms(t *testing.T, r *room) *programs {
	t.Helper()
	opencode := os.Getenv("BERTH_TEST_OPENCODE")
	if _, err := exec.LookPath("curl"); err != nil || opencode == "" || os.Geteuid() != 0 {
		const why = "needs root, curl, and OpenCode's program: set BERTH_TEST_OPENCODE to its path"
		if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	p := &programs{dir: t.TempDir()}
	hosts := "127.0.0.1 localhost " + ownName + " " + r.ID + "." + domain + "\n::1 localhost\n"
	harness.Must(t, os.WriteFile(filepath.Join(p.dir, "hosts"), []byte(hosts), 0o644))
	harness.Must(t, os.WriteFile(filepath.Join(p.dir, "nsswitch.conf"), []byte("hosts: files\n"), 0o644))
	p.environ = []string{
		"PATH=" + filepath.Dir(opencode) + ":/usr/bin:/bin", "HOME=" + p.dir, "TERM=xterm-256color", "LANG=C.UTF-8",
		"OPENCODE_SERVER_PASSWORD=" + r.Token,
		"OPENCODE_DISABLE_AUTOUPDATE=1", "OPENCODE_DISABLE_MODELS_FETCH=1", // nothing leaves this machine
	}
	if file := r.caFile(t, p.dir); file != "" {
		p.environ = append(p.environ, "NODE_EXTRA_CA_CERTS="+file)
	}
	return p
}

// command is a line of the user's shell.
func (p *programs) command(t *testing.T, line string) *exec.Cmd {
	const names = `mount --bind hosts /etc/hosts && mount --bind nsswitch.conf /etc/nsswitch.conf && exec sh -c "$1"`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", names, "sh", line)
	cmd.Dir, cmd.Env = p.dir, p.environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a line and returns what it printed.
func (p *programs) run(t *testing.T, line string) (string, error) {
	cmd := p.command(t, line)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// terminal is a program in a terminal.
type terminal struct {
	keys    *os.File
	written chan []byte // by the program
	screen  screen
	close   func()
}

const columns, rows = 120, 40 // of a terminal

// open runs a line in a terminal, which the caller closes.
func (p *programs) open(t *testing.T, line string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	harness.Must(t, err)
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	harness.Must(t, err)
	harness.Must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	harness.Must(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	harness.Must(t, err)
	cmd := p.command(t, line)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	harness.Must(t, cmd.Start())
	_ = slave.Close()
	tty := &terminal{keys: master, written: make(chan []byte, 1000)}
	go func() {
		defer close(tty.written)
		for {
			chunk := make([]byte, 4096)
			n, err := master.Read(chunk)
			if err != nil {
				return
			}
			tty.written <- chunk[:n]
		}
	}()
	tty.close = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = master.Close()
	}
	return tty
}

// write types.
func (y *terminal) write(keys string) { _, _ = y.keys.WriteString(keys) }

// await waits until the screen shows a text.
func (y *terminal) await(text string) error {
	timeout := time.After(turn)
	for !strings.Contains(y.screen.text(), text) {
		select {
		case chunk, ok := <-y.written:
			if !ok {
				return fmt.Errorf("the program has ended without %q. Its screen:\n%s", text, y.screen.text())
			}
			y.screen.write(string(chunk))
		case <-timeout:
			return fmt.Errorf("no %q within %s. The screen:\n%s", text, turn, y.screen.text())
		}
	}
	return nil
}
