package outage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/test/harness"
)

const (
	hostAddress     = "10.99.0.1" // of this machine, in the LAN
	lanAddress      = "10.99.0.2" // of another machine in the LAN
	metadataAddress = "169.254.169.254"
)

// lanHost is another machine: a network namespace with a virtual Ethernet link.
type lanHost struct{ pid int }

// newLAN connects another machine to this one, which forwards packets, like a host with other containers or virtual machines.
func newLAN(t *testing.T) *lanHost {
	t.Helper()
	machine := exec.Command("unshare", "--net", "sleep", "infinity")
	harness.Must(t, machine.Start())
	t.Cleanup(func() {
		_ = machine.Process.Kill()
		_ = machine.Wait()
	})
	pid := strconv.Itoa(machine.Process.Pid)
	harness.Eventually(t, 10*time.Second, "the other machine has its network", func() error {
		mine, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			return err
		}
		theirs, err := os.Readlink("/proc/" + pid + "/ns/net")
		if err == nil && mine == theirs {
			err = fmt.Errorf("the process is still in %s", mine)
		}
		return err
	})
	sh(t, `
		ip link add cable type veth peer name eth0 netns PID
		ip addr add HOST/24 dev cable
		ip link set cable up
		ip route add META/32 dev cable
		inside="nsenter -t PID -n"
		$inside ip link set lo up
		$inside ip addr add LAN/24 dev eth0
		$inside ip addr add META/32 dev eth0
		$inside ip link set eth0 up
		$inside ip route add default via HOST
		echo 1 >/proc/sys/net/ipv4/ip_forward`, "PID", pid, "HOST", hostAddress, "LAN", lanAddress, "META", metadataAddress)
	return &lanHost{pid: machine.Process.Pid}
}

func sh(t *testing.T, script string, replace ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", strings.NewReplacer(replace...).Replace(script))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// do runs f on the other machine.
func (l *lanHost) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread cannot be used for anything else
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", l.pid))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (l *lanHost) listen(t *testing.T, address string) {
	t.Helper()
	harness.Must(t, l.do(func() error { return accept(t, address) }))
}

// accept accepts connections and closes them.
func accept(t *testing.T, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return nil
}

func dial(address string) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// sessionOf starts a session's container and returns it when its server answers.
func sessionOf(t *testing.T, r *docker.Runtime, profile session.Profile, name string) session.Container {
	t.Helper()
	return sessionWith(t, r, profile, name, session.EgressOpen)
}

func sessionWith(t *testing.T, r *docker.Runtime, profile session.Profile, name string, egress session.EgressMode) session.Container {
	t.Helper()
	spec := session.Spec{
		Session: session.ID("ses-" + name), Name: "berth-test-" + name, Profile: profile, Image: profile.Image, Credential: "secret",
		Limits:    session.Limits{Memory: 64 << 20, CPUs: session.OneCPU, Processes: 128},
		CreatedAt: time.Now().UTC(), Egress: egress,
	}
	if _, err := r.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	harness.Must(t, r.Start(t.Context(), spec.Name))
	c, err := r.Inspect(t.Context(), spec.Name)
	harness.Must(t, err)
	harness.Eventually(t, 30*time.Second, "the server of "+name+" answers", func() error {
		_, err := ask(t.Context(), c.Address, "/global/health")
		return err
	})
	return c
}

func ask(ctx context.Context, address, path string) (map[string]any, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("opencode", "secret")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s %w", path, resp.Status, err)
	}
	var answer map[string]any
	return answer, json.Unmarshal(text, &answer)
}

// TestHostIsUnreachableFromSessions checks connections from and to sessions, with and without the firewall rules.
func TestHostIsUnreachableFromSessions(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	machine := newLAN(t)
	e := newEngine(t, dir, "--live-restore")
	profile := dockertest.StubProfile(t)
	api := dockertest.Client(t)
	// In earlier versions the engine named the bridge.
	_, err := api.NetworkCreate(t.Context(), "earlier", client.NetworkCreateOptions{
		Driver: "bridge", Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"}, Labels: map[string]string{"berth.network": "true"},
	})
	harness.Must(t, err)
	sessions := map[string]session.Container{}
	var published session.Container
	for _, network := range []string{"berth", "earlier"} {
		direct := open(t, docker.Options{Network: network, Route: docker.RouteNetwork})
		sessions[network] = sessionOf(t, direct, profile, network)
		if network == "berth" {
			public := open(t, docker.Options{Network: network, Route: docker.RoutePublished, PublishIP: hostAddress})
			published = sessionOf(t, public, profile, "published")
		}
	}
	harness.Must(t, accept(t, "0.0.0.0:2222"))
	machine.listen(t, "0.0.0.0:80")

	// check compares the reachable addresses with the expected ones, all at once because closed ones time out.
	check := func(when string, open bool) {
		t.Helper()
		var tries sync.WaitGroup
		for network, c := range sessions {
			for what, at := range map[string]string{
				"a port of this machine, at the bridge's address": net.JoinHostPort(gateway(t, api, network), "2222"),
				"a port of this machine, at another address":      hostAddress + ":2222",
				"the metadata service":                            metadataAddress + ":80",
				"the published port of another container":         published.Address,
			} {
				tries.Go(func() {
					if answer, err := ask(t.Context(), c.Address, "/dial?addr="+at); err != nil || answer["ok"] != open {
						t.Errorf("%s: a session of the network %s reaches %s (%s): %v, %v; want it open: %v", when, network, what, at, answer, err, open)
					}
				})
			}
			tries.Go(func() {
				answer, err := ask(t.Context(), c.Address, "/dial?addr="+lanAddress+":80")
				if reached, _ := answer["ok"].(bool); err != nil || !reached {
					t.Errorf("%s: a session of the network %s does not reach other hosts: %v, %v", when, network, answer, err)
				}
			})
			tries.Go(func() {
				if err := machine.do(func() error { return dial(c.Address) }); (err == nil) != open {
					t.Errorf("%s: another machine dials the address of a container of the network %s: %v, want it open: %v", when, network, err, open)
				}
			})
		}
		tries.Go(func() {
			if err := machine.do(func() error { return dial(published.Address) }); err != nil {
				t.Errorf("%s: another machine does not reach the published port: %v", when, err)
			}
		})
		tries.Wait()
	}
	firewall := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), harness.Binary(t), append([]string{"docker", "firewall", "--socket", e.path("docker.sock")}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("berth docker firewall %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	before := rules(t)
	check("before", true)
	if out := firewall("--dry-run"); !strings.Contains(out, "+-A BERTH-INPUT -i berth+ -j DROP") {
		t.Errorf("the plan does not show the rules:\n%s", out)
	}
	check("after a dry run", true)

	firewall("--yes")
	check("closed", false)
	closed := rules(t)
	if out := firewall("--yes"); !strings.Contains(out, "nothing to do") || rules(t) != closed {
		t.Errorf("a second run changed something: %s\n%s", out, rules(t))
	}
	e.end(syscall.SIGTERM)
	e.start()
	check("after a restart of the engine", false)

	firewall("--undo", "--yes")
	check("after the undo", true)
	if after := rules(t); after != before {
		t.Errorf("the rules after the undo:\n%s\nwant the earlier ones:\n%s", after, before)
	}
}

func open(t *testing.T, o docker.Options) *docker.Runtime {
	t.Helper()
	o.Host, o.Instance = dockertest.Engine(t), "berth-test"
	r, err := docker.Open(t.Context(), o)
	harness.Must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// gateway returns the address of a network's bridge.
func gateway(t *testing.T, api *client.Client, network string) string {
	t.Helper()
	n, err := api.NetworkInspect(t.Context(), network, client.NetworkInspectOptions{})
	harness.Must(t, err)
	return n.Network.IPAM.Config[0].Gateway.String()
}

// rules returns the firewall rules except those of single containers.
func rules(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, program := range []string{"iptables", "ip6tables"} {
		out, err := exec.CommandContext(t.Context(), program, "-w", "-S").Output()
		harness.Must(t, err)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "BERTH") || strings.HasPrefix(line, "-P") || strings.HasPrefix(line, "-A INPUT") || strings.HasPrefix(line, "-A DOCKER-USER") {
				all.WriteString(line)
			}
		}
	}
	return all.String()
}
