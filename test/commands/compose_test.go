package commands_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const berthUser = 10001 // of compose.yaml

// service is a service of compose.yaml.
type service struct {
	Command     []string `yaml:"command"`
	User        string   `yaml:"user"`
	NetworkMode string   `yaml:"network_mode"`
	CapAdd      []string `yaml:"cap_add"`
	CapDrop     []string `yaml:"cap_drop"`
	Volumes     []string `yaml:"volumes"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func services(t *testing.T) map[string]service {
	t.Helper()
	text, err := os.ReadFile("../../compose.yaml")
	harness.Must(t, err)
	var file struct {
		Services map[string]service `yaml:"services"`
	}
	harness.Must(t, yaml.Unmarshal(text, &file))
	return file.Services
}

// TestComposeRenewsCertificates runs the service "certs" with the rights that it has, and wants Berth's user to be able to
// read what it makes.
func TestComposeRenewsCertificates(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skip(t, "needs root, to give files to another user")
	}
	s := services(t)["certs"]
	if len(s.Command) < 2 || s.User != "0:0" || s.NetworkMode != "none" || !slices.Equal(s.CapDrop, []string{"ALL"}) {
		t.Fatalf("the service is %+v, want one of root without network and with few rights", s)
	}
	dir := t.TempDir()
	harness.Must(t, os.Chmod(dir, 0o755))
	certs, client := filepath.Join(dir, "certs"), filepath.Join(dir, "client")
	berth := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), harness.Binary(t), args...).CombinedOutput(); err != nil {
			t.Fatalf("berth %q: %v\n%s", args, err, out)
		}
	}
	berth("certs", "init", "--dir", certs, "--days", "90")
	berth("certs", "bundle", "--dir", certs, "--out", client)
	harness.Must(t, exec.Command("chown", "-R", fmt.Sprint(berthUser), client).Run())
	harness.Must(t, exec.Command("chown", "-R", "1234", certs).Run()) // whoever has made them

	caps := "-all"
	for _, c := range s.CapAdd {
		caps += ",+" + strings.ToLower(c)
	}
	args := []string{"--no-new-privs", "--bounding-set", caps, "--inh-caps", "-all", harness.Binary(t)}
	for _, a := range s.Command {
		args = append(args, strings.NewReplacer("/certs", certs, "/client", client, "12h", "1s").Replace(a))
	}
	before, err := os.ReadFile(filepath.Join(client, "client-cert.pem"))
	harness.Must(t, err)
	renewing := exec.Command("setpriv", args...)
	var output bytes.Buffer
	renewing.Stderr = &output
	lines, err := renewing.StdoutPipe()
	harness.Must(t, err)
	harness.Must(t, renewing.Start())
	t.Cleanup(func() {
		_ = renewing.Process.Kill()
		_ = renewing.Wait()
	})
	if _, err := bufio.NewReader(lines).ReadString('\n'); err != nil {
		t.Fatalf("the first look: %v\n%s", err, output.String())
	}
	go func() { _, _ = bufio.NewReader(lines).WriteTo(&bytes.Buffer{}) }()
	// Meanwhile they are renewed, as they are when their time has come.
	berth("certs", "renew", "--dir", certs, "--force")

	harness.Eventually(t, 20*time.Second, "the bundle is renewed", func() error {
		now, err := os.ReadFile(filepath.Join(client, "client-cert.pem"))
		if err == nil && bytes.Equal(now, before) {
			err = fmt.Errorf("it is the old one")
		}
		return err
	})
	harness.Must(t, renewing.Process.Signal(syscall.SIGTERM))
	_ = renewing.Wait()
	for path, owner := range map[string]uint32{
		filepath.Join(client, "client-key.pem"): berthUser, filepath.Join(client, "client-cert.pem"): berthUser, filepath.Join(client, "ca.pem"): berthUser,
		filepath.Join(certs, "server-key.pem"): 1234, filepath.Join(certs, "client-key.pem"): 1234,
	} {
		info, err := os.Stat(path)
		harness.Must(t, err)
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Uid != owner {
			t.Errorf("%s is of the user %d after its renewal, want %d as before", path, stat.Uid, owner)
		}
		if strings.HasSuffix(path, "key.pem") && info.Mode().Perm() != 0o400 {
			t.Errorf("%s has the mode %04o", path, info.Mode().Perm())
		}
	}
}

// TestComposeHealthcheck runs the health check of compose.yaml against a Berth that serves, and against none.
func TestComposeHealthcheck(t *testing.T) {
	t.Parallel()
	check := services(t)["berth"].Healthcheck.Test
	if len(check) < 3 || check[0] != "CMD" || check[1] != "/usr/local/bin/berth" {
		t.Fatalf("the health check is %q, want the program's own: the image has no other", check)
	}
	w := harness.New(t)
	env := map[string]string{"BERTH_LISTEN": strings.Replace(w.Vars["BERTH_LISTEN"], "127.0.0.1", "0.0.0.0", 1)}
	if r := harness.Command(t, env, check[2:]...); r.Exit != 1 || r.Stderr == "" {
		t.Errorf("without a Berth: exit code %d, %s; want 1 and a reason", r.Exit, r.Stderr)
	}
	w.StartServe()
	if r := harness.Command(t, env, check[2:]...); r.Exit != 0 {
		t.Errorf("with a Berth: exit code %d, %s", r.Exit, r.Stderr)
	}
}
