package contract_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"berth/test/harness"
)

// certificateOf reads the first certificate of a file.
func certificateOf(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(file)
	harness.Must(t, err)
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s has no PEM", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	harness.Must(t, err)
	return cert
}

// contractFiles are those of the certificates' directory, with their modes.
var contractFiles = map[string]os.FileMode{
	"ca.pem": 0o444, "server-cert.pem": 0o444, "client-cert.pem": 0o444, "server-key.pem": 0o400, "client-key.pem": 0o400,
}

func haveModes(t *testing.T, dir string) {
	t.Helper()
	for name, mode := range contractFiles {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: got %v, %v; want mode %04o", name, info, err, mode)
		}
	}
}

func certificatesAreMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	cmd := exec.CommandContext(t.Context(), "../../docker/scripts/generate-certs.sh")
	cmd.Env = append(os.Environ(), "DOCKER_CERT_PATH="+dir, "DOCKER_ENV=production", "DOCKER_HOST_IP=10.1.2.3", "DOCKER_HOST_NAME=engine.example", "DAYS=30")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generate-certs.sh: %v\n%s", err, out)
	}
	haveModes(t, dir)
	server := certificateOf(t, filepath.Join(dir, "server-cert.pem"))
	for _, name := range []string{"10.1.2.3", "engine.example"} {
		if err := server.VerifyHostname(name); err != nil {
			t.Errorf("the server's certificate: %v", err)
		}
	}
	if life := time.Until(server.NotAfter); life < 29*24*time.Hour || life > 30*24*time.Hour {
		t.Errorf("DAYS=30: got a certificate of %v", life)
	}
	other := filepath.Join(t.TempDir(), "certs")
	if c := harness.Command(t, nil, "certs", "init", "--dir", other); c.Exit != 0 {
		t.Fatalf("berth certs init: %s", c.Stderr)
	}
	haveModes(t, other)
	authority, local := certificateOf(t, filepath.Join(other, "ca.pem")), certificateOf(t, filepath.Join(other, "server-cert.pem"))
	if days := authority.NotAfter.Sub(authority.NotBefore).Hours() / 24; days < 3649 || days > 3651 {
		t.Errorf("the authority by itself: got %v days, want 3650", days)
	}
	for _, name := range []string{"127.0.0.1", "localhost"} {
		if err := local.VerifyHostname(name); err != nil {
			t.Errorf("the server's certificate by itself: %v", err)
		}
	}
}

func engineIsSetUp(t *testing.T) {
	dir := t.TempDir()
	certs := filepath.Join(dir, "certs")
	harness.Command(t, nil, "certs", "init", "--dir", certs)
	cmd := exec.CommandContext(t.Context(), "../../docker/scripts/setup-docker-tls.sh", "--dry-run", "--listen", harness.FreeAddress(t))
	cmd.Env = append(os.Environ(), "DOCKER_CERT_PATH="+certs)
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"tlsverify", "daemon.json"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("setup-docker-tls.sh --dry-run: got %v and no %s in\n%s", err, want, out)
		}
	}
}

func wayToTheEngineIsTested(t *testing.T) {
	w := harness.New(t)
	env := append(os.Environ(), "DOCKER_HOST="+w.Engine, "DOCKER_CERT_PATH="+w.Vars["DOCKER_CERT_PATH"])
	cmd := exec.CommandContext(t.Context(), "../../docker/scripts/test-tls-connection")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with the right certificates: %v\n%s", err, out)
	}
	foreign := filepath.Join(t.TempDir(), "certs")
	harness.Command(t, nil, "certs", "init", "--dir", foreign)
	cmd = exec.CommandContext(t.Context(), "../../docker/scripts/test-tls-connection")
	cmd.Env = append(env, "DOCKER_CERT_PATH="+foreign)
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("with another authority's: want a failure\n%s", out)
	}
}

func auditHasFourteenItems(t *testing.T) {
	c := harness.Command(t, nil, "doctor", "--output", "json")
	var report struct {
		Results []struct{ Check, Title, Status string } `json:"results"`
	}
	if err := json.Unmarshal([]byte(c.Stdout), &report); err != nil {
		t.Fatalf("%v\n%s%s", err, c.Stdout, c.Stderr)
	}
	want := []string{
		"certificate-strength", "certificate-permissions", "socket-mounts", "environment", "tls-connection", "host-ip", "proxy-routing",
		"resource-limits", "session-throttling", "resource-monitoring", "certificate-rotation", "firewall", "daemon-options", "api-logging",
	}
	var got []string
	for i, r := range report.Results {
		if i < len(want) { // what Berth checks beyond the contract comes after it
			got = append(got, r.Check)
		}
		if r.Title == "" || r.Check == "" || r.Status == "" {
			t.Errorf("an item without a name or a status: %+v", r)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the first items are %q, want %q", got, want)
	}
}

func filesAreWhereTheyWere(t *testing.T) {
	for _, name := range []string{"docker/daemon.json", "docker/.env.example"} {
		if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile("../../docker/.env.example")
	harness.Must(t, err)
	for id, settings := range environment {
		for _, s := range settings {
			if !regexp.MustCompile(`(?m)^#?` + s.variable + `=`).Match(text) {
				t.Errorf("docker/.env.example does not have %s of %s", s.variable, id)
			}
		}
	}
	if out, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "check-ignore", "docker/certs/ca.pem").CombinedOutput(); err != nil {
		t.Errorf("docker/certs would be kept in git: %v %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "certs")
	harness.Command(t, nil, "certs", "init", "--dir", dir)
	haveModes(t, dir)
}

func composeHasNoSocket(t *testing.T) {
	text, err := os.ReadFile("../../compose.yaml")
	harness.Must(t, err)
	var file struct {
		Services map[string]struct {
			Volumes []string `yaml:"volumes"`
		} `yaml:"services"`
	}
	harness.Must(t, yaml.Unmarshal(text, &file))
	mounted := false
	for name, s := range file.Services {
		for _, v := range s.Volumes {
			if strings.Contains(v, "docker.sock") {
				t.Errorf("%s mounts the socket: %s", name, v)
			}
			mounted = mounted || strings.HasSuffix(v, ":/etc/docker/certs:ro")
		}
	}
	if !mounted {
		t.Error("no service has the certificates at /etc/docker/certs, read-only")
	}
}
