package connection

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/guardtest"
	"berth/internal/pki"
	"berth/test/harness"
)

const dockerdTimeout = 60 * time.Second

// TestRunThroughGuardOnRealEngine makes and removes a container on the test engine.
func TestRunThroughGuardOnRealEngine(t *testing.T) {
	t.Parallel()
	socket := dockertest.Engine(t)
	image := dockertest.StubProfile(t).Image
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Init(dir, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Host: guardtest.Start(t, dir, socket), CA: filepath.Join(dir, pki.CACertFile), Cert: filepath.Join(dir, pki.ClientCertFile),
		Key: filepath.Join(dir, pki.ClientKeyFile), ServerCert: filepath.Join(dir, pki.ServerCertFile), Deep: true, Image: image,
	}
	r := check(t, o)
	if got := faults(r); len(got) != 0 || stepOf(t, r, stepRemove).Status != Pass {
		t.Fatalf("guard before a real engine: got %q, %+v; want no fault", got, r.Steps)
	}
	api := dockertest.Client(t)
	left, err := api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", Label+"=tls")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range left.Items {
		if len(c.Names) > 0 && strings.Contains(stepOf(t, r, stepCreate).Detail, strings.TrimPrefix(c.Names[0], "/")) {
			t.Errorf("container %s was left on the engine", c.Names[0])
		}
	}

	o.Image = "berth-test/there-is-no-such-image"
	if diff := cmp.Diff([]string{"! create image-missing"}, faults(check(t, o))); diff != "" {
		t.Errorf("an image that is not there (-want +got):\n%s", diff)
	}
}

func TestRunThroughGuardWithoutEngine(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Init(dir, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Host: guardtest.Start(t, dir, filepath.Join(t.TempDir(), "none.sock")), CA: filepath.Join(dir, pki.CACertFile),
		Cert: filepath.Join(dir, pki.ClientCertFile), Key: filepath.Join(dir, pki.ClientKeyFile),
	}
	r := check(t, o)
	if diff := cmp.Diff([]string{"! negotiate engine-away"}, faults(r)); diff != "" {
		t.Errorf("warnings and failures (-want +got):\n%s", diff)
	}
	if s := stepOf(t, r, stepNegotiate); !strings.Contains(s.Detail, "does not exist") {
		t.Errorf("detail %q does not pass on what the guard says", s.Detail)
	}
}

// TestRunOnDockerdWithTLS is about a real dockerd, with TLS done by itself.
func TestRunOnDockerdWithTLS(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	f, o := setup(t, "")
	o.Host = startDockerd(t, dir, f, f.ours.issue(t, x509.ExtKeyUsageServerAuth))
	o.Deep = true
	r := check(t, o)
	if got := faults(r); len(got) != 0 {
		t.Fatalf("got %q, want no fault: %+v", got, r.Steps)
	}
	if s := stepOf(t, r, stepCreate); s.Code != "no-image" {
		t.Errorf("create on an engine without images: got %s %s, want it to be skipped for that", s.Status, s.Code)
	}
	if r.APIVersion == "" || !strings.HasPrefix(r.Engine, "Docker/") || r.TLSVersion != "TLS 1.3" {
		t.Errorf("report: got API %q, engine %q, %q", r.APIVersion, r.Engine, r.TLSVersion)
	}

	theirs := newAuthority(t, "theirs")
	for name, tc := range map[string]struct {
		change func(t *testing.T, o *Options)
		want   []string
	}{
		"wrong CA": {
			func(t *testing.T, o *Options) {
				o.CA = filepath.Join(t.TempDir(), "ca.pem")
				writeFile(t, o.CA, certPEM(theirs.cert), 0o444)
			},
			[]string{"! server-chain server-of-another-authority", "client-chain client-of-another-authority"},
		},
		"wrong host name": {
			func(_ *testing.T, o *Options) { o.ServerName = "engine.example.org" },
			[]string{"! server-name server-name-mismatch"},
		},
		"client of another authority": {
			func(t *testing.T, o *Options) { useClient(t, o, theirs.issue(t, x509.ExtKeyUsageClientAuth)) },
			[]string{"client-chain client-of-another-authority", "! authenticate client-refused"},
		},
		"client expired": {
			func(t *testing.T, o *Options) {
				useClient(t, o, f.ours.issue(t, x509.ExtKeyUsageClientAuth, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
			},
			[]string{"! client-dates client-expired", "! authenticate client-refused"},
		},
		"certificate renewed on disk only": {
			func(t *testing.T, o *Options) {
				o.ServerCert = filepath.Join(t.TempDir(), "server-cert.pem")
				writeFile(t, o.ServerCert, certPEM(f.ours.issue(t, x509.ExtKeyUsageServerAuth).Leaf), 0o444)
			},
			[]string{"server-file server-file-not-loaded"},
		},
	} {
		o := o
		tc.change(t, &o)
		if diff := cmp.Diff(tc.want, faults(check(t, o))); diff != "" {
			t.Errorf("%s: warnings and failures (-want +got):\n%s", name, diff)
		}
	}
}

// TestRunOnDockerdWithExpiredCertificate shows that dockerd does not report an expired certificate.
func TestRunOnDockerdWithExpiredCertificate(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	f, o := setup(t, "")
	expired := f.ours.issue(t, x509.ExtKeyUsageServerAuth, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	o.Host = startDockerd(t, dir, f, expired)
	writeFile(t, o.ServerCert, certPEM(f.ours.issue(t, x509.ExtKeyUsageServerAuth).Leaf), 0o444)
	r := check(t, o)
	if diff := cmp.Diff([]string{"! server-dates server-expired", "server-file server-file-not-loaded"}, faults(r)); diff != "" {
		t.Errorf("warnings and failures (-want +got):\n%s", diff)
	}
	if r.Server == nil || r.Server.DaysLeft >= 0 {
		t.Errorf("days left of the loaded certificate: got %+v, want below 0", r.Server)
	}
}

func useClient(t *testing.T, o *Options, pair tls.Certificate) {
	t.Helper()
	dir := t.TempDir()
	o.Cert, o.Key = filepath.Join(dir, "client-cert.pem"), filepath.Join(dir, "client-key.pem")
	writeFile(t, o.Cert, certPEM(pair.Leaf), 0o444)
	writeFile(t, o.Key, keyPEM(t, pair.PrivateKey), 0o400)
}

// startDockerd starts an engine in the directory of [harness.Isolated], because one without a bridge removes the docker0
// that it finds, and returns its host.
func startDockerd(t *testing.T, dir string, f fixture, pair tls.Certificate) string {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, path("ca.pem"), certPEM(f.ours.cert), 0o444)
	writeFile(t, path("server-cert.pem"), certPEM(pair.Leaf), 0o444)
	writeFile(t, path("server-key.pem"), keyPEM(t, pair.PrivateKey), 0o400)
	writeFile(t, path("daemon.json"), []byte("{}"), 0o444)
	writeFile(t, filepath.Join(f.dir, "server-cert.pem"), certPEM(pair.Leaf), 0o444)
	address := harness.FreeAddress(t)

	var log bytes.Buffer
	cmd := exec.Command(harness.Dockerd(t), "--config-file", path("daemon.json"), "--host", "tcp://"+address, "--tlsverify",
		"--tlscacert", path("ca.pem"), "--tlscert", path("server-cert.pem"), "--tlskey", path("server-key.pem"),
		"--data-root", path("data"), "--exec-root", path("exec"), "--pidfile", path("pid"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--storage-driver=vfs")
	cmd.Stdout, cmd.Stderr = &log, &log
	// A test program that is killed takes its dockerd with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, how := make(chan struct{}), error(nil)
	go func() {
		how = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended: // by our signal, or before
		case <-time.After(dockerdTimeout):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("dockerd did not stop within %s", dockerdTimeout)
		}
	})
	deadline := time.NewTimer(dockerdTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			t.Fatalf("dockerd ended: %v\n%s", how, log.String())
		case <-deadline.C:
			t.Fatalf("dockerd does not listen on %s within %s", address, dockerdTimeout)
		case <-tick.C:
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				return "tcp://" + address
			}
		}
	}
}
