// Package systemd_test boots a systemd in namespaces of its own, with the units of deploy/systemd.
package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/internal/dockertest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	variable = "BERTH_TEST_SYSTEMD"
	usual    = "/lib/systemd/systemd"
)

// machine is a booted systemd with this machine's files. Its changes are discarded.
type machine struct{ pid int }

// prepare builds the machine's root in ROOT: this machine's files, with a layer above them that goes with the test; then the
// units as docs/operating.md installs them. Units that would change the shared kernel are masked.
const prepare = `
mount --make-rprivate /
mount -t tmpfs tmpfs ROOT
mkdir ROOT/upper ROOT/work ROOT/all
mount -t overlay overlay -o lowerdir=/,upperdir=ROOT/upper,workdir=ROOT/work ROOT/all
cd ROOT/all
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do touch dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/shm dev/pts dev/mqueue && mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts && ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
touch run/docker.sock && mount --bind SOCKET run/docker.sock
ip link set lo up
rm -rf etc/systemd/system etc/berth var/lib/berth var/log/journal
mkdir -p etc/systemd/system usr/lib/sysusers.d usr/lib/tmpfiles.d etc/berth
for u in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-random-seed systemd-udevd systemd-udev-trigger \
	systemd-binfmt systemd-timesyncd kmod-static-nodes systemd-update-utmp systemd-tmpfiles-setup-dev systemd-logind docker; do
	ln -s /dev/null etc/systemd/system/$u.service
done
install -m 755 BINARY usr/local/bin/berth
cp UNITS/berth*.service UNITS/berth*.socket UNITS/berth*.timer UNITS/berth*.path etc/systemd/system/
cp UNITS/berth.sysusers.conf usr/lib/sysusers.d/berth.conf
cp UNITS/berth.tmpfiles.conf usr/lib/tmpfiles.d/berth.conf
cp UNITS/berth.yaml etc/berth/berth.yaml
chroot . systemd-sysusers berth.conf
chroot . berth certs init --dir /etc/berth/certs --env production --host 127.0.0.1 >/dev/null
chroot . systemd-tmpfiles --create berth.conf
echo 0123456789abcdef0123456789abcdef >etc/machine-id
printf '[Unit]\nRequires=dbus.socket systemd-journald.socket\nAllowIsolate=yes\n' >etc/systemd/system/test.target
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt; mount --make-rshared /; exec env -i container=berth-test SYSTEMD_LOG_TARGET=journal SYSTEMD --system --unit=test.target' </dev/null >/dev/null 2>&1
`

// boot starts a machine. It skips the test, or fails it when BERTH_TEST_REQUIRE=1, where there is no systemd to boot or no
// right to do so.
func boot(t *testing.T) *machine {
	t.Helper()
	program := os.Getenv(variable)
	required := os.Getenv("BERTH_TEST_REQUIRE") == "1"
	if program == "" && required {
		program = usual
	}
	if _, err := os.Stat(program); err != nil || os.Geteuid() != 0 {
		const why = "needs root, and a systemd to boot: set " + variable + " to its path"
		if required {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	units, err := filepath.Abs("../../deploy/systemd")
	harness.Must(t, err)
	root := t.TempDir()
	script := strings.NewReplacer("ROOT", root, "BINARY", harness.Binary(t), "UNITS", units, "SOCKET", strings.TrimPrefix(dockertest.Engine(t), "unix://"), "SYSTEMD --", program+" --").Replace(prepare)
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--cgroup", "--ipc", "--uts", "sh", "-ec", script)
	var out strings.Builder
	cmd.Stderr = &out
	group := newControlGroup(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	harness.Must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	m := &machine{}
	harness.Eventually(t, time.Minute, "systemd has booted", func() error {
		select {
		case <-ended:
			t.Fatalf("the machine has ended: %s", out.String())
		default:
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		if err != nil {
			return err
		}
		if m.pid, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return err
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.pid))
		if err != nil || strings.TrimSpace(string(comm)) != "systemd" {
			return fmt.Errorf("its first process is still %s: %w", comm, err)
		}
		if text, _ := m.try(t, "systemctl is-active test.target"); strings.TrimSpace(text) != "active" {
			return fmt.Errorf("test.target is %s", text)
		}
		return nil
	})
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := m.try(t, "journalctl --no-pager -n 80 -o short-precise -u 'berth*'")
			t.Logf("the journal ends with:\n%s", text)
		}
	})
	return m
}

// newControlGroup makes the control group that is the machine's root: its units must not share groups with units of the same
// names on the host. It is removed at the end of the test.
func newControlGroup(t *testing.T) *os.File {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	harness.Must(t, err)
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		path, err := os.MkdirTemp(fields[1], "berth-test-") //nolint:usetesting // a control group, which os.RemoveAll cannot remove
		harness.Must(t, err)
		group, err := os.Open(path)
		harness.Must(t, err)
		t.Cleanup(func() {
			_ = group.Close()
			removeControlGroup(t, path)
		})
		return group
	}
	t.Fatal("no cgroup2 is mounted")
	return nil
}

// removeControlGroup removes a group with all below it, the deepest first, as soon as their processes have ended.
func removeControlGroup(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(50 * time.Millisecond) {
		var groups []string
		_ = filepath.WalkDir(path, func(at string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, at)
			}
			return nil // it was removed meanwhile
		})
		var left error
		for _, at := range slices.Backward(groups) {
			left = os.Remove(at)
		}
		if left == nil || errors.Is(left, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("control group of the test: %v", left)
			return
		}
	}
}

// try runs a shell command on the machine, and returns its output.
func (m *machine) try(t *testing.T, command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.pid), "--all", "--root", "--wd", "sh", "-c", command)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for a command that must succeed.
func (m *machine) run(t *testing.T, command string) string {
	t.Helper()
	out, err := m.try(t, command)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

// exit runs a command that may fail, and returns its exit code.
func (m *machine) exit(t *testing.T, command string) (string, int) {
	t.Helper()
	out, err := m.try(t, command)
	failed := &exec.ExitError{}
	if errors.As(err, &failed) {
		return out, failed.ExitCode()
	}
	harness.Must(t, err)
	return out, 0
}

// await waits until a unit is in a state.
func (m *machine) await(t *testing.T, unit, state string) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, unit+" is "+state, func() error {
		now, _ := m.try(t, "systemctl is-active "+unit)
		if now = strings.TrimSpace(now); now != state {
			return fmt.Errorf("it is %s", now)
		}
		return nil
	})
}
