package dockerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/doctor/connection"
	"berth/internal/pki"
	"berth/test/harness"
)

// engine is a private machine with an engine: a tree of files, and dockerd started by a script.
type engine struct {
	dir, root, socket, pid string
	certs                  string
	setup                  *Setup
}

// original is the daemon.json of a machine without a set-up, with the operator's keys and layout.
const original = `{
    "labels": ["rack=7"],
    "hosts": ["unix://SOCKET"],
    "max-concurrent-uploads": 2
}
`

// newEngine starts an engine that answers on its socket only.
func newEngine(t *testing.T, dir string) *engine {
	t.Helper()
	e := &engine{dir: dir, root: filepath.Join(dir, "root"), socket: filepath.Join(dir, "docker.sock"), pid: filepath.Join(dir, "pid"), certs: filepath.Join(dir, "certs")}
	if _, err := pki.Init(e.certs, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	e.write(t, e.paths().config, strings.ReplaceAll(original, "SOCKET", e.socket))
	e.write(t, e.stopScript(), e.fill(t, stopScript))
	e.write(t, e.script(), e.fill(t, restartScript))
	e.setup = e.newSetup(t)
	if err := e.setup.restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.await(t)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("the engine's log ends: %s", log[max(0, len(log)-8000):])
		}
	})
	return e
}

// fill puts this engine's program and paths into a text.
func (e *engine) fill(t *testing.T, text string) string {
	t.Helper()
	return strings.NewReplacer("DOCKERD", harness.Dockerd(t), "DIR", e.dir, "CONFIG", e.paths().config).Replace(text)
}

// stopScript ends the engine that was started, whether or not it has begun to serve.
const stopScript = `#!/bin/sh
[ -s DIR/pid ] || exit 0
old=$(cat DIR/pid)
kill "$old"
while kill -0 "$old" 2>/dev/null; do sleep 0.05; done
rm DIR/pid
`

// engineFlags keep an engine in its directory. Its PID file is written too late to show that one is starting: two that start
// at once break each other's containerd.
const engineFlags = "--data-root DIR/data --exec-root DIR/exec --pidfile DIR/engine.pid --storage-driver vfs"

// restartScript imitates an init system: it records the process that it has started. The file "fault" makes one restart fail.
const restartScript = `#!/bin/sh
config=CONFIG
if [ -e DIR/fault ]; then
	fault=$(cat DIR/fault)
	rm DIR/fault
fi
[ "$fault" = fails ] && { echo "no restart today"; exit 3; }
sh DIR/stop
[ "$fault" = silent ] && exit 0
if [ "$fault" = lax ]; then
	sed 's/"tlsverify": true/"tlsverify": false/' CONFIG >DIR/lax.json
	config=DIR/lax.json
fi
setsid nohup DOCKERD --config-file $config ` + engineFlags + ` >>DIR/log 2>&1 </dev/null &
echo $! >DIR/pid
`

func (e *engine) script() string { return filepath.Join(e.dir, "restart") }

func (e *engine) stopScript() string { return filepath.Join(e.dir, "stop") }

func (e *engine) host() Host {
	h := Machine()
	h.Root = e.root
	return h
}

func (e *engine) paths() paths { return e.host().paths() }

func (e *engine) options(t *testing.T) Options {
	t.Helper()
	o := material(t, e.certs)
	o.RestartCommand = "sh " + e.script()
	o.Timeout = 20 * time.Second
	return o
}

// material are the options that a directory of certificates makes.
func material(t *testing.T, dir string) Options {
	t.Helper()
	return Options{
		Server: Material{CA: read(t, filepath.Join(dir, pki.CACertFile)), Cert: read(t, filepath.Join(dir, pki.ServerCertFile)), Key: read(t, filepath.Join(dir, pki.ServerKeyFile))},
		Client: pair(t, dir).Leaf,
		Verify: func(ctx context.Context, address, serverName string) (bool, error) {
			return connection.Secured(ctx, connection.Options{
				Host: "tcp://" + address, ServerName: serverName, ServerCert: filepath.Join(dir, pki.ServerCertFile),
				CA: filepath.Join(dir, pki.CACertFile), Cert: filepath.Join(dir, pki.ClientCertFile), Key: filepath.Join(dir, pki.ClientKeyFile),
			})
		},
	}
}

func pair(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, pki.ClientCertFile), filepath.Join(dir, pki.ClientKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (e *engine) newSetup(t *testing.T) *Setup {
	t.Helper()
	s, err := New(e.host(), e.options(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits until the engine answers on its socket.
func (e *engine) await(t *testing.T) {
	t.Helper()
	if err := e.setup.poll(t.Context(), func(ctx context.Context) error { return e.setup.answers(ctx, "unix://"+e.socket) }); err != nil {
		t.Fatalf("the engine does not answer on its socket: %v", err)
	}
}

func (e *engine) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// fault makes the next restart fail.
func (e *engine) fault(t *testing.T, kind string) {
	t.Helper()
	e.write(t, filepath.Join(e.dir, "fault"), kind)
}

// started is the process of the engine, as a number.
func (e *engine) started(t *testing.T) string {
	t.Helper()
	return string(read(t, e.pid))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// state is everything that a set-up may touch: the tree of files, and the firewall's chains that are not the engine's own.
func (e *engine) state(t *testing.T) map[string]string {
	t.Helper()
	state := tree(t, e.root)
	for _, program := range []string{"iptables", "ip6tables"} {
		out, err := exec.CommandContext(t.Context(), program, "-w", "-S").Output()
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "-A INPUT") || strings.Contains(line, "BERTH") {
				state[program] += line
			}
		}
	}
	return state
}

func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		files[name] = info.Mode().String()
		if info.Mode().IsRegular() {
			files[name] += "\n" + string(read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func mustEqual(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const tlsAddress = "127.0.0.1:2376"

// request asks the engine over TLS with a client of this test's own making; nil shows no certificate.
func (e *engine) request(t *testing.T, certificate *tls.Certificate) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, filepath.Join(e.certs, pki.CACertFile)))
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+tlsAddress+"/containers/json", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != "[]") {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// mustBeSecured checks the engine from outside.
func (e *engine) mustBeSecured(t *testing.T) {
	t.Helper()
	ours := pair(t, e.certs)
	if err := e.request(t, &ours); err != nil {
		t.Errorf("our client over TLS: %v, want an empty list of containers", err)
	}
	if err := e.request(t, nil); err == nil {
		t.Error("a client without certificate was answered")
	}
	other := filepath.Join(t.TempDir(), "other")
	if _, err := pki.Init(other, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	foreign := pair(t, other)
	if err := e.request(t, &foreign); err == nil {
		t.Error("a client of another authority was answered")
	}
	e.await(t)
}

// mustBeOpen expects the engine as it was before any set-up.
func (e *engine) mustBeOpen(t *testing.T) {
	t.Helper()
	e.await(t)
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", tlsAddress)
	if err == nil {
		conn.Close()
		t.Error("the engine still listens on its TLS address")
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial the TLS address: %v, want it to be refused", err)
	}
}

func mustPlan(t *testing.T, s *Setup) *Plan {
	t.Helper()
	plan, err := s.Plan(t.Context())
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return plan
}

// mustApply plans and applies.
func mustApply(t *testing.T, s *Setup) {
	t.Helper()
	plan := mustPlan(t, s)
	if plan.Empty() {
		t.Fatal("the plan is empty")
	}
	if err := s.Apply(t.Context(), plan); err != nil {
		t.Fatalf("apply: %v", err)
	}
}
