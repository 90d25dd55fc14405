package systemd_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"berth/test/harness"
)

// ask is a request to Berth on the machine that prints the status.
const (
	timeout = 30 * time.Second
)

const ask = `bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080 && printf "GET /livez HTTP/1.0\r\n\r\n" >&3 && head -1 <&3'`

// settings are the machine's settings in addition to the delivered ones.
func (m *machine) settings(t *testing.T, server, log string) {
	t.Helper()
	m.run(t, fmt.Sprintf(`cat >/etc/berth/berth.yaml <<'END'
server:
  state_dir: /var/lib/berth
%sdocker:
  host: tcp://127.0.0.1:2376
  cert_path: /etc/berth/certs
  env: production
log:
  file: /var/log/berth/berth.log
%sEND`, server, log))
}

// TestUnits goes through an operator's tasks with the units, on one machine.
func TestUnits(t *testing.T) {
	t.Parallel()
	m := boot(t)

	if out, code := m.exit(t, "systemd-analyze verify /etc/systemd/system/berth*"); code != 0 || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: exit code %d, %s", code, out)
	}
	m.run(t, "systemctl enable berth-guard berth.socket berth && systemctl start berth-guard berth.socket berth")
	m.await(t, "berth", "active")

	t.Run("the command line has the unit's settings", func(t *testing.T) {
		if out := m.run(t, "cd /tmp && berth config show"); !strings.Contains(out, "state_dir: /var/lib/berth") || !strings.Contains(out, "env: production") {
			t.Errorf("config show: %s", out)
		}
		m.run(t, "berth docker test")
		m.run(t, "printf 'server: {state_dir: /nowhere}\n' >/tmp/berth.yaml")
		if out := m.run(t, "cd /tmp && berth config show"); strings.Contains(out, "/nowhere") {
			t.Error("a file of the current directory was read")
		}
		if out := m.run(t, "BERTH_STATE_DIR=/elsewhere berth config show"); !strings.Contains(out, "state_dir: /elsewhere") {
			t.Errorf("the environment does not win over the file: %s", out)
		}
		out, _ := m.exit(t, "berth doctor")
		for _, check := range []string{"environment", "tls-connection", "certificate-strength", "certificate-permissions"} {
			for line := range strings.Lines(out) {
				if strings.Contains(line, " "+check+" ") && strings.Contains(line, " fail ") {
					t.Errorf("doctor does not see the unit's settings: %s", line)
				}
			}
		}
	})

	t.Run("the journal has priorities", func(t *testing.T) {
		if out := m.run(t, "journalctl -u berth -p info..info -o cat"); !strings.Contains(out, `"level":"INFO"`) || strings.Contains(out, "<6>") {
			t.Errorf("entries of the priority info: %s", out)
		}
		if out := m.run(t, "journalctl -u berth -p warning -o cat"); strings.Contains(out, `"level":"INFO"`) {
			t.Errorf("information among the warnings: %s", out)
		}
	})

	t.Run("a clean installation gives no alarm", func(t *testing.T) {
		if out := m.run(t, "journalctl -u berth -u berth-guard -o cat"); strings.Contains(out, "revocation-list") || !strings.Contains(out, "ready") {
			t.Errorf("the journal: %s", out)
		}
		harness.Eventually(t, timeout, "the audit is in /health", func() error {
			out := m.run(t, `curl -sS -H "Authorization: Bearer $(cat /var/lib/berth/admin-token)" http://127.0.0.1:8080/health`)
			if !strings.Contains(out, `"security_audit"`) {
				return errors.New(out)
			}
			if strings.Contains(out, "/run/credentials") || strings.Contains(out, "mode-differs") {
				t.Errorf("the security check reports credentials: %s", out)
			}
			return nil
		})
	})

	t.Run("a restart and a crash keep the socket", func(t *testing.T) {
		opened := m.run(t, "systemctl show berth.socket -P ActiveEnterTimestampMonotonic")
		m.run(t, "systemctl restart berth")
		m.await(t, "berth", "active")
		pid := m.run(t, "systemctl show berth -P MainPID")
		m.run(t, "systemctl kill -s KILL berth")
		harness.Eventually(t, timeout, "berth is started again", func() error {
			now, err := m.try(t, "systemctl show berth -P MainPID")
			if err != nil || now == pid || strings.TrimSpace(now) == "0" {
				return fmt.Errorf("its process is %s, %w", now, err)
			}
			return nil
		})
		m.await(t, "berth", "active")
		if now := m.run(t, "systemctl show berth.socket -P ActiveEnterTimestampMonotonic"); now != opened {
			t.Error("the socket was closed meanwhile: connections were refused")
		}
		if out := m.run(t, ask); !strings.Contains(out, "200") {
			t.Errorf("a request is answered with %s", out)
		}
	})

	t.Run("what is stopped stays stopped", func(t *testing.T) {
		m.run(t, "systemctl stop berth") // systemctl warns that the socket may start it again
		m.await(t, "berth", "inactive")
		m.await(t, "berth.socket", "inactive")
		if out, code := m.exit(t, ask); code == 0 {
			t.Errorf("a request is answered: %s", out)
		}
		m.await(t, "berth", "inactive")
		m.run(t, "systemctl start berth")
		m.await(t, "berth.socket", "active")
		if out := m.run(t, ask); !strings.Contains(out, "200") {
			t.Errorf("a request is answered with %s", out)
		}
	})

	t.Run("faults of the settings end the attempts", func(t *testing.T) {
		for name, fault := range map[string]struct{ server, log, says string }{
			"another address than the socket's": {"  listen: 127.0.0.1:9999\n", "", "systemctl edit berth.socket"},
			"a value that is none":              {"  drain_timeout: soon\n", "", "must be a number of seconds"},
			"a log file that cannot be written": {"", "  file_enabled: true\n  file: /usr/berth.log\n", "open log file"},
		} {
			m.run(t, "systemctl stop berth")
			m.settings(t, fault.server, strings.ReplaceAll(fault.log, "  file: /usr/berth.log\n", ""))
			if strings.Contains(fault.log, "/usr/") {
				m.run(t, "sed -i 's#/var/log/berth/berth.log#/usr/berth.log#' /etc/berth/berth.yaml")
			}
			_, _ = m.exit(t, "systemctl start berth")
			// The socket asks for it, too.
			_, _ = m.exit(t, "timeout 2 "+ask)
			// Until the start limit is reached, each check may see a start.
			harness.Eventually(t, timeout, name+" ends with exit code 2", func() error {
				if out := m.run(t, "systemctl show berth -P NRestarts -P ExecMainStatus -P ActiveState"); strings.Join(strings.Fields(out), " ") != "0 2 failed" {
					return fmt.Errorf("restarts, exit code and state are %s, want 0, 2 and failed", out)
				}
				return nil
			})
			if out := m.run(t, "journalctl -u berth -p err -o cat"); !strings.Contains(out, fault.says) {
				t.Errorf("%s: the journal has no error that says %q: %s", name, fault.says, out)
			}
			m.run(t, "systemctl reset-failed berth berth.socket; systemctl stop berth.socket")
		}
	})

	t.Run("a certificate that is missing is named, and its return is enough", func(t *testing.T) {
		m.settings(t, "", "")
		m.run(t, "mkdir /run/aside && mv /etc/berth/certs/client-cert.pem /etc/berth/certs/server-cert.pem /run/aside")
		_, _ = m.exit(t, "systemctl start berth")
		// Requests wait at the socket, and ask for a start until there have been too many.
		for range 20 {
			_, _ = m.exit(t, "timeout 0.3 "+ask)
		}
		m.await(t, "berth", "failed")
		if out := m.run(t, "journalctl -u berth -p err -o cat"); !strings.Contains(out, "berth: /etc/berth/certs/client-cert.pem is missing: ") || strings.Contains(out, "ca.pem is") {
			t.Errorf("the journal does not name the file: %s", out)
		}
		_, _ = m.exit(t, "systemctl restart berth-guard")
		m.await(t, "berth-guard", "failed")
		if out := m.run(t, "systemctl show berth-guard -P NRestarts -P ExecMainStatus"); strings.Join(strings.Fields(out), " ") != "0 2" {
			t.Errorf("the guard: restarts and exit code are %s, want 0 and 2", out)
		}
		if out := m.run(t, "journalctl -u berth-guard -p err -o cat"); !strings.Contains(out, "server-cert.pem: file is missing") {
			t.Errorf("the journal of the guard: %s", out)
		}
		m.run(t, "mv /run/aside/* /etc/berth/certs && systemctl start berth-guard")
		harness.Eventually(t, timeout, "berth can be started without more", func() error {
			if out, code := m.exit(t, "systemctl start berth"); code != 0 {
				return errors.New(out)
			}
			return nil
		})
		m.run(t, ask)
		m.run(t, "systemctl stop berth")
	})

	t.Run("files of its own user, and a log file", func(t *testing.T) {
		m.settings(t, "", "  file_enabled: true\n")
		m.run(t, "chown berth: /etc/berth/berth.yaml && chmod 600 /etc/berth/berth.yaml && systemctl start berth")
		m.await(t, "berth", "active")
		m.run(t, "test -s /var/log/berth/berth.log && berth session list && test -s /var/log/berth/berth-audit.log")
	})

	t.Run("Berth may open the gateway's low ports, and nothing else", func(t *testing.T) {
		for _, set := range []string{"CapEff", "CapBnd", "CapAmb"} {
			const netBindService = "0000000000000400"
			if got := strings.TrimSpace(m.run(t, "sed -n 's/^"+set+":[[:space:]]*//p' /proc/$(systemctl show berth -P MainPID)/status")); got != netBindService {
				t.Errorf("%s = %s, want %s", set, got, netBindService)
			}
		}
		m.run(t, "[ $(readlink /proc/$(systemctl show berth -P MainPID)/ns/user) = $(readlink /proc/1/ns/user) ]") // where the capability counts
	})

	t.Run("the firewall's unit closes this machine to sessions", func(t *testing.T) {
		m.run(t, "systemctl start berth-firewall && iptables -w -C BERTH-INPUT -i berth+ -j DROP && iptables -w -C FORWARD -j BERTH-FORWARD")
		if out := m.run(t, "berth docker firewall --yes 2>&1"); !strings.Contains(out, "nothing to do") {
			t.Errorf("a second time: %s", out)
		}
	})

	t.Run("a guard that is disabled is not started again", func(t *testing.T) {
		m.run(t, "systemctl disable --now berth-guard 2>&1 && systemctl restart --no-block berth")
		m.await(t, "berth", "activating") // it waits for an engine
		m.await(t, "berth-guard", "inactive")
	})
}
