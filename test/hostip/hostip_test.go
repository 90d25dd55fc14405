// Package hostip_test runs the real binary in network namespaces that imitate the environments in which Berth may run.
package hostip_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/dockertest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// place is a namespace in which Berth runs, and one beside it that is the Docker host, connected as by Docker.
type place struct {
	t          *testing.T
	here, host string // namespaces
}

const (
	port   = "32768" // that a session's server is published on
	device = "eth0"
)

// newPlace makes both namespaces: the host is 172.18.0.1 and fd00:77::1, Berth 172.18.0.2 and fd00:77::2. There are no
// default routes, no names and no servers yet.
func newPlace(t *testing.T) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		const why = "needs root, to make network namespaces"
		if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	name := fmt.Sprintf("berth-%06x", rand.IntN(1<<24))
	p := &place{t: t, here: name + "-c", host: name + "-h"}
	for _, ns := range []string{p.here, p.host} {
		p.ip("netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", ns).Run() })
	}
	p.ip("link", "add", device, "netns", p.here, "type", "veth", "peer", "name", device, "netns", p.host)
	for ns, n := range map[string]string{p.host: "1", p.here: "2"} {
		p.ip("-n", ns, "link", "set", "lo", "up")
		p.ip("-n", ns, "link", "set", device, "up")
		p.ip("-n", ns, "address", "add", "172.18.0."+n+"/16", "dev", device)
		p.ip("-n", ns, "address", "add", "fd00:77::"+n+"/64", "dev", device, "nodad")
	}
	// Only these two files define names.
	p.etc("hosts", "127.0.0.1 localhost\n")
	p.etc("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
	return p
}

func (p *place) ip(args ...string) {
	p.t.Helper()
	if out, err := exec.CommandContext(p.t.Context(), "ip", args...).CombinedOutput(); err != nil {
		p.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// etc gives Berth's namespace a file of its own in place of one in /etc.
func (p *place) etc(name, text string) {
	p.t.Helper()
	dir := filepath.Join("/etc/netns", p.here)
	harness.Must(p.t, os.MkdirAll(dir, 0o755))
	p.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	harness.Must(p.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

// hostHas gives the Docker host another address, which Berth reaches through it.
func (p *place) hostHas(address string) {
	p.t.Helper()
	p.ip("-n", p.host, "address", "add", address+"/32", "dev", "lo")
	p.ip("-n", p.here, "route", "add", address+"/32", "via", "172.18.0.1")
}

// serves starts a session's server at an address of the Docker host.
func (p *place) serves(address string) {
	p.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", p.host, dockertest.BuildStub(p.t), "-hostname", address, "-port", port)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "OPENCODE_SERVER_PASSWORD=a-password", "STUB_STATE=" + p.t.TempDir()}
	harness.Must(p.t, cmd.Start())
	p.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	harness.Eventually(p.t, 10*time.Second, "the server listens", func() error {
		out, err := exec.CommandContext(p.t.Context(), "ip", "netns", "exec", p.host, "cat", "/proc/net/tcp", "/proc/net/tcp6").Output()
		if err == nil && !strings.Contains(string(out), fmt.Sprintf(":%04X ", 32768)) {
			err = errors.New("it does not yet")
		}
		return err
	})
}

// report is what berth hostip --output json prints.
type report struct {
	Address    string
	Source     string
	Candidates []struct {
		Source, Address, Reason string
		Answers                 bool
	}
}

// look runs berth hostip in Berth's namespace.
func (p *place) look(env ...string) (report, harness.Result) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "ip", "netns", "exec", p.here, harness.Binary(p.t), "hostip", "--port", port, "--output", "json")
	cmd.Dir, cmd.Env = p.t.TempDir(), append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/"}, env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	exit := &exec.ExitError{}
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	var r report
	harness.Must(p.t, json.Unmarshal([]byte(stdout.String()), &r))
	return r, harness.Result{Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

func TestHostIsFoundInEveryEnvironment(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		furnish         func(*place)
		env             []string
		address, source string
	}{
		"Docker Desktop: a name": {func(p *place) {
			p.hostHas("192.168.65.254")
			p.etc("hosts", "192.168.65.254 host.docker.internal\n")
			p.ip("-n", p.here, "route", "add", "default", "via", "172.18.0.1")
			p.serves("0.0.0.0")
		}, nil, "192.168.65.254", "host.docker.internal"},
		"cloud: a variable": {func(p *place) {
			p.hostHas("10.77.0.1")
			p.ip("-n", p.here, "route", "add", "default", "via", "172.18.0.1")
			p.serves("0.0.0.0")
		}, []string{"GATEWAY=10.77.0.1", "DOCKER_HOST_GATEWAY=10.88.0.1"}, "10.77.0.1", "DOCKER_HOST_GATEWAY, GATEWAY"},
		"Linux: the bridge is the default route": {func(p *place) {
			p.ip("-n", p.here, "route", "add", "default", "via", "172.18.0.1")
			p.serves("0.0.0.0")
		}, nil, "172.18.0.1", "default route"},
		"IPv6 only": {func(p *place) {
			p.ip("-n", p.here, "address", "delete", "172.18.0.2/16", "dev", device)
			p.ip("-n", p.here, "-6", "route", "add", "default", "via", "fd00:77::1")
			p.serves("::")
		}, nil, "fd00:77::1", "default route"},
		"a router that is not the host": {func(p *place) {
			p.ip("-n", p.here, "route", "add", "default", "via", "172.18.0.254")
			p.serves("172.18.0.1")
		}, nil, "172.18.0.1", "network of the default route"},
		"a custom network": {func(p *place) {
			p.hostHas("172.17.0.1")
			p.ip("-n", p.here, "route", "add", "default", "via", "172.18.0.1")
			p.serves("172.17.0.1")
		}, nil, "172.17.0.1", "usual gateways"},
		"forced": {func(p *place) {
			p.ip("-n", p.here, "route", "add", "default", "via", "172.18.0.1")
			p.serves("0.0.0.0")
		}, []string{"HOST_IP=172.18.0.1", "GATEWAY=10.77.0.1"}, "172.18.0.1", "HOST_IP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			row.furnish(p)
			got, result := p.look(row.env...)
			if result.Exit != 0 || got.Address != row.address || got.Source != row.source {
				t.Errorf("got %s from %q, exit code %d; want %s from %q\n%s%s", got.Address, got.Source, result.Exit, row.address, row.source,
					result.Stdout, result.Stderr)
			}
		})
	}
}

func TestFailedDetectionNamesRemedies(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	got, result := p.look()
	if result.Exit != 6 || got.Address != "" || len(got.Candidates) < 5 {
		t.Errorf("got %+v and exit code %d, want every candidate, none of them taken, and 6", got, result.Exit)
	}
	for _, want := range []string{"Could not detect Docker host IP", "HOST_IP", "docker network inspect bridge", "host.docker.internal"} {
		if !strings.Contains(result.Stderr, want) {
			t.Errorf("the message does not name %q: %s", want, result.Stderr)
		}
	}
	for _, c := range got.Candidates {
		if c.Answers || c.Reason == "" {
			t.Errorf("%+v: want the reason why it is not accepted", c)
		}
	}
	if _, forced := p.look("HOST_IP=172.18.0.1"); forced.Exit != 6 || !strings.Contains(forced.Stderr, "HOST_IP") {
		t.Errorf("HOST_IP that does not answer: got exit code %d and %s", forced.Exit, forced.Stderr)
	}
}
