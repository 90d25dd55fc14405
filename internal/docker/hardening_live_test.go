package docker_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/session"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"
)

func TestContainerIsHardened(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	made, err := w.Create(t.Context(), w.spec("hard"))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	read, err := dockertest.Client(t).ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	host, config := read.Container.HostConfig, read.Container.Config
	type facts struct {
		CapAdd, CapDrop, SecurityOpt     []string
		ReadonlyRootfs, Privileged, Init bool
		User, Ipc, Cgroupns, Network     string
		Memory, Swap, Quota, Period      int64
		PIDs                             int64
		OOMScore                         int
		Restart, LogDriver               string
		LogConfig, Tmpfs                 map[string]string
		Ulimits                          []string
		Binds                            []string
		Health                           []string
	}
	got := facts{
		CapAdd: host.CapAdd, CapDrop: host.CapDrop, SecurityOpt: host.SecurityOpt,
		ReadonlyRootfs: host.ReadonlyRootfs, Privileged: host.Privileged, Init: host.Init != nil && *host.Init,
		User: config.User, Ipc: string(host.IpcMode), Cgroupns: string(host.CgroupnsMode), Network: string(host.NetworkMode),
		Memory: host.Memory, Swap: host.MemorySwap, Quota: host.CPUQuota, Period: host.CPUPeriod, PIDs: *host.PidsLimit,
		OOMScore: host.OomScoreAdj, Restart: string(host.RestartPolicy.Name), LogDriver: host.LogConfig.Type,
		LogConfig: host.LogConfig.Config, Tmpfs: host.Tmpfs, Binds: host.Binds, Health: config.Healthcheck.Test,
	}
	for _, u := range host.Ulimits {
		got.Ulimits = append(got.Ulimits, u.String())
	}
	want := facts{
		CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true", "seccomp=…"},
		ReadonlyRootfs: true, Init: true, User: "10001:10001", Ipc: "private", Cgroupns: "private", Network: w.instance,
		Memory: 64 << 20, Swap: 64 << 20, Quota: 100_000, Period: 100_000, PIDs: 128, OOMScore: 500,
		Restart: "no", LogDriver: "local", LogConfig: map[string]string{"max-size": "10m", "max-file": "3"},
		Tmpfs: map[string]string{
			"/tmp": "rw,exec,nosuid,nodev,size=16777216,mode=1777",
			"/run": "rw,noexec,nosuid,nodev,size=1048576,mode=0700,uid=10001,gid=10001",
		},
		Ulimits: []string{"core=0:0", "nofile=16384:16384"},
		Health:  []string{"NONE"},
	}
	for i, option := range got.SecurityOpt {
		if profile, ours := strings.CutPrefix(option, "seccomp="); ours && json.Valid([]byte(profile)) {
			got.SecurityOpt[i] = "seccomp=…"
		}
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("none", func(s []string) []string {
		return append([]string{}, s...) // null and [] are the same to an engine
	})); diff != "" {
		t.Errorf("hardening of the container (-want +got):\n%s", diff)
	}
	labels := map[string]string{"berth.session": "ses-hard", "berth.instance": w.instance}
	for key, value := range labels {
		if config.Labels[key] != value {
			t.Errorf("label %s = %q, want %q: the reconciler finds containers by it", key, config.Labels[key], value)
		}
	}
	if _, found := config.Labels["berth.created"]; !found {
		t.Error("label berth.created is missing: the reconciler's grace period depends on it")
	}
}

// inside is what the stub server reports about itself.
type inside struct {
	UID, GID, PID int
	CapEff        string `json:"cap_eff"`
	CapBnd        string `json:"cap_bnd"`
	NoNewPrivs    string `json:"no_new_privs"`
	Seccomp       string
	Writable      map[string]bool
	Mounts        map[string]string
}

func TestHardeningSeenFromInside(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	c := w.up(t, w.spec("inside"))
	var got inside
	if err := get(t.Context(), c.Address, "/env", &got); err != nil {
		t.Fatalf("ask the server for its privileges: %v", err)
	}
	mounts := got.Mounts
	got.Mounts = nil
	want := inside{
		UID: 10001, GID: 10001,
		PID:    got.PID,
		CapEff: "0000000000000000", CapBnd: "0000000000000000", NoNewPrivs: "1", Seccomp: "2",
		Writable: map[string]bool{"/": false, "/etc": false, "/usr": false, "/tmp": true, "/workspace": true, "/state": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("privileges of the server (-want +got):\n%s", diff)
	}
	if got.PID == 1 {
		t.Error("the server is process 1: orphans would never be reaped, and SIGTERM would do nothing")
	}
	if strings.Contains(mounts["/tmp"], "noexec") || !strings.Contains(mounts["/tmp"], "nosuid") {
		t.Errorf("/tmp is mounted %q, want exec and nosuid: OpenCode loads libraries from it", mounts["/tmp"])
	}
	if !strings.Contains(mounts["/run"], "noexec") {
		t.Errorf("/run is mounted %q, want noexec: its profile says so", mounts["/run"])
	}
}

func TestSystemCallsOfASession(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	c := w.up(t, w.spec("calls"))
	var got map[string]string
	if err := get(t.Context(), c.Address, "/syscalls", &got); err != nil {
		t.Fatal(err)
	}
	const absent, denied, reached = "function not implemented", "operation not permitted", "(reached the kernel)"
	for name, answer := range got {
		if answer != absent && answer != denied {
			got[name] = reached
		}
	}
	want := map[string]string{
		"io_uring_setup": absent, "io_uring_enter": absent, "io_uring_register": absent, "clone3": absent, "fchmodat2": absent,
		"socket inet": reached, "socket netlink": reached, "socket packet": denied, "socket alg": denied, "socket vsock": denied,
		"socket smc": denied, "socket xdp": denied,
		"socketpair unix": reached, "socketpair packet": denied, "socketpair alg": denied, "socketpair vsock": denied, "socketpair smc": denied,
		"keyctl": denied, "unshare": denied, "mount": denied, "ptrace": reached, "personality": denied,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how a session's system calls are answered (-want +got):\n%s", diff)
	}
}

func TestPortIsPublishedOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *docker.Options) { o.Route = docker.RoutePublished })
	c := w.up(t, w.spec("port"))
	at, err := netip.ParseAddrPort(c.Address)
	if err != nil {
		t.Fatalf("address %q: %v", c.Address, err)
	}
	if at.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("published on %s, want 127.0.0.1: the engine is on this machine", at.Addr())
	}
	read, err := dockertest.Client(t).ContainerInspect(t.Context(), c.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	for port, bound := range read.Container.NetworkSettings.Ports {
		for _, b := range bound {
			if !b.HostIP.IsLoopback() {
				t.Errorf("%s is bound to %s as well, want loopback only", port, b.HostIP)
			}
		}
	}
	// The same port on the machine's other addresses must stay closed.
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatalf("list this machine's addresses: %v", err)
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || prefix.Addr().IsLoopback() || !prefix.Addr().Is4() {
			continue
		}
		elsewhere := netip.AddrPortFrom(prefix.Addr(), at.Port()).String()
		if conn, err := net.Dial("tcp", elsewhere); err == nil {
			_ = conn.Close()
			t.Errorf("%s accepts connections, want it closed: a session must not be open to the network", elsewhere)
		}
	}
}

func TestContainersCannotReachEachOther(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	one, two := w.up(t, w.spec("one")), w.up(t, w.spec("two"))
	read, err := dockertest.Client(t).ContainerInspect(t.Context(), two.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	attached := read.Container.NetworkSettings.Networks[w.instance]
	if attached == nil || !attached.IPAddress.IsValid() {
		t.Fatalf("the container has no address on network %s", w.instance)
	}
	type answer struct {
		OK    bool
		Error string
	}
	var itself, neighbour answer
	target := netip.AddrPortFrom(attached.IPAddress, 4096).String()
	if err := get(t.Context(), two.Address, "/dial?addr="+target, &itself); err != nil {
		t.Fatalf("ask the second server: %v", err)
	}
	if !itself.OK {
		t.Fatalf("the second server cannot reach itself at %s (%s): the test shows nothing", target, itself.Error)
	}
	if err := get(t.Context(), one.Address, "/dial?addr="+target, &neighbour); err != nil {
		t.Fatalf("ask the first server: %v", err)
	}
	if neighbour.OK {
		t.Errorf("one session reached the other at %s: sessions must not see each other", target)
	}
}

func TestSpecWithoutLimitsIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	for name, spoil := range map[string]func(*session.Spec){
		"no memory limit": func(s *session.Spec) { s.Limits.Memory = 0 },
		"no cpu limit":    func(s *session.Spec) { s.Limits.CPUs = 0 },
		"no pids limit":   func(s *session.Spec) { s.Limits.Processes = 0 },
		"no password":     func(s *session.Spec) { s.Credential = "" },
		"root":            func(s *session.Spec) { s.Profile.UID = 0 },
	} {
		spec := w.spec("bad")
		spoil(&spec)
		_, err := w.Create(t.Context(), spec)
		wantCode(t, err, session.CodeInvalid, name)
	}
	if left, err := w.List(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%d containers are there (%v), want none: a refused container must not exist", len(left), err)
	}
}
