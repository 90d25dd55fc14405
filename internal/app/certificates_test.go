package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/config"
	"berth/internal/metrics"
	"berth/internal/pki"
	"berth/internal/porttest"
)

// engineTLSFixture has the certificates of an engine that only does the TLS handshake.
type engineTLSFixture struct {
	*pki.Monitor
	dir string
	log bytes.Buffer
}

func guard(t *testing.T, change func(*config.Docker)) (*engineTLSFixture, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Init(dir, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	server, _, err := pki.LoadServerTLS(pki.ServerPaths(dir), pki.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := porttest.Handshakes(t, server)
	a := &engineTLSFixture{dir: dir}
	d := config.Docker{
		Host: "tcp://" + address.String(), TLSVerify: true, CertPath: dir, CACert: filepath.Join(dir, pki.CACertFile),
		ClientCert: filepath.Join(dir, pki.ClientCertFile), ClientKey: filepath.Join(dir, pki.ClientKeyFile),
	}
	if change != nil {
		change(&d)
	}
	a.Monitor, err = openCertificates(t.Context(), d, slog.New(slog.NewTextHandler(&a.log, nil)))
	return a, err
}

func names(a *engineTLSFixture) []string {
	var all []string
	for _, e := range a.Client.Expiries() {
		all = append(all, e.Certificate()+" "+string(e.Urgency))
	}
	return all
}

func TestCertificatesAreShownAndMeasured(t *testing.T) {
	t.Parallel()
	a, err := guard(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"client ok", "ca ok"}, names(a)); diff != "" {
		t.Errorf("before the first handshake (-want +got): %s", diff)
	}
	a.Handshake(t.Context())
	if diff := cmp.Diff([]string{"engine ok", "client ok", "ca ok"}, names(a)); diff != "" {
		t.Errorf("certificates (-want +got): %s", diff)
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(metrics.Certificates(a.Client.Expiries)); err != nil {
		t.Fatal(err)
	}
	// Two authorities must not become two samples of one name.
	if _, err := pki.Rotate(a.dir, pki.RotateOptions{Days: 5000}); err != nil {
		t.Fatal(err)
	}
	a.Handshake(t.Context())
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "berth_certificate_expiry_seconds" {
		t.Fatalf("gathered %v, %v", families, err)
	}
	days := map[string]int{}
	for _, m := range families[0].GetMetric() {
		days[m.GetLabel()[0].GetValue()] = int(m.GetGauge().GetValue()/86400 + 0.5)
	}
	if diff := cmp.Diff(map[string]int{"engine": 90, "client": 90, "ca": 5000}, days); diff != "" {
		t.Errorf("days left (-want +got): %s", diff)
	}
}

func TestPinsAndVerificationComeFromTheSettings(t *testing.T) {
	t.Parallel()
	wrong := "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, tt := range []struct {
		name   string
		change func(*config.Docker)
		seen   bool
	}{
		{"verified", nil, true},
		{"a wrong pin", func(d *config.Docker) { d.TLSPin = wrong }, false},
		{"unverified, a wrong pin", func(d *config.Docker) { d.TLSVerify, d.TLSPin = false, wrong }, false},
		{"another name", func(d *config.Docker) { d.Host = strings.Replace(d.Host, "127.0.0.1", "127.0.0.2", 1) }, false},
	} {
		a, err := guard(t, tt.change)
		if err != nil {
			t.Fatal(err)
		}
		a.Handshake(t.Context())
		if got := len(names(a)) == 3; got != tt.seen {
			t.Errorf("%s: engine accepted: %v, want %v", tt.name, got, tt.seen)
		}
	}
	if _, err := guard(t, func(d *config.Docker) { d.TLSPin = "x" }); err == nil {
		t.Error("an invalid pin was accepted")
	}
	if a, err := guard(t, func(d *config.Docker) { d.Host = "unix:///run/docker.sock" }); err != nil || a.Monitor != nil {
		t.Errorf("a socket: %v, certificates %v; want none", err, a.Monitor)
	}
}

func TestProductionRefusesExposedCertificates(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		file string
		mode os.FileMode
	}{"directory of everybody": {".", 0o777}, "key of everybody": {pki.ClientKeyFile, 0o644}} {
		for _, env := range []string{"development", config.Production} {
			a, err := guard(t, func(d *config.Docker) {
				d.Env = env
				if err := os.Chmod(filepath.Join(d.CertPath, tt.file), tt.mode); err != nil {
					t.Fatal(err)
				}
			})
			if env == config.Production {
				if err == nil || !strings.Contains(err.Error(), "chmod 0") {
					t.Errorf("%s in production: %v; want it refused, and chmod", name, err)
				}
			} else if err != nil || !strings.Contains(a.log.String(), "certificate needs attention") {
				t.Errorf("%s in development: %v; want a warning: %s", name, err, a.log.String())
			}
		}
	}
}
