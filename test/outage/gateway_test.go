package outage_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/test/harness"
)

// datagrams counts what arrives at a UDP address, and answers nothing.
func datagrams(t *testing.T, address string) (*atomic.Int32, error) {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	count := new(atomic.Int32)
	go func() {
		buffer := make([]byte, 1500)
		for {
			if _, _, err := conn.ReadFrom(buffer); err != nil {
				return
			}
			count.Add(1)
		}
	}()
	return count, nil
}

// TestListedSessionReachesTheGatewayAlone: of everything that is there, a session that is not open reaches the gateway's ports on
// the address of its own bridge; neither its packets nor the names that it asks for go anywhere else, even while the gateway's name
// server answers nothing.
func TestListedSessionReachesTheGatewayAlone(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	outside := newLAN(t)
	// The other machine has every address that there is, so that whatever leaves is received.
	sh(t, "ip route add default via LAN; nsenter -t PID -n ip route add local 0.0.0.0/0 dev lo", "LAN", lanAddress, "PID", strconv.Itoa(outside.pid))
	outside.listen(t, "0.0.0.0:80")
	var outsideNames *atomic.Int32
	harness.Must(t, outside.do(func() (err error) {
		outsideNames, err = datagrams(t, "0.0.0.0:53")
		return err
	}))
	hostNames, err := datagrams(t, "127.0.0.1:53")
	harness.Must(t, err)
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	harness.Must(t, os.WriteFile(resolv, []byte("nameserver 127.0.0.1\nsearch corp.example\n"), 0o644))
	sh(t, "mount --bind FILE /etc/resolv.conf", "FILE", resolv)

	e := newEngine(t, dir)
	profile := dockertest.StubProfile(t)
	r := open(t, docker.Options{Network: "berth"})
	places, err := r.Gateways(t.Context())
	harness.Must(t, err)
	internal, opened := places[0].Address.String(), places[1].Address.String()
	firewall := exec.CommandContext(t.Context(), harness.Binary(t), "docker", "firewall", "--socket", e.path("docker.sock"), "--yes")
	if out, err := firewall.CombinedOutput(); err != nil {
		t.Fatalf("berth docker firewall: %v\n%s", err, out)
	}
	for _, port := range []string{"53", "80", "443", "8081", "2222"} {
		harness.Must(t, accept(t, "0.0.0.0:"+port))
	}
	ours, err := datagrams(t, internal+":53")
	harness.Must(t, err)

	listed := sessionWith(t, r, profile, "listed", session.EgressListed)
	neighbour := sessionWith(t, r, profile, "neighbour", session.EgressNone)
	free := sessionWith(t, r, profile, "free", session.EgressOpen)
	if !places[0].Subnet.Contains(listed.NetworkIP) || !strings.HasPrefix(listed.Address, listed.NetworkIP.String()) {
		t.Errorf("reached at %s with the address %s, want one of %s", listed.Address, listed.NetworkIP, places[0].Subnet)
	}
	var tries sync.WaitGroup
	check := func(c session.Container, address string, want bool) {
		tries.Go(func() {
			answer, err := ask(t.Context(), c.Address, "/dial?addr="+address)
			if reached, _ := answer["ok"].(bool); err != nil || reached != want {
				t.Errorf("%s dials %s: %v, %v; want it open: %v", c.Name, address, answer, err, want)
			}
		})
	}
	for _, port := range []string{"53", "80", "443", "8081"} {
		check(listed, net.JoinHostPort(internal, port), true)
		check(free, net.JoinHostPort(opened, port), port == "8081")
		check(listed, net.JoinHostPort(opened, port), false)
		check(listed, net.JoinHostPort(hostAddress, port), false)
		check(free, net.JoinHostPort(internal, port), false)
	}
	for _, address := range []string{
		internal + ":2222", lanAddress + ":80", metadataAddress + ":80", "203.0.113.7:80", neighbour.NetworkIP.String() + ":4096", free.NetworkIP.String() + ":4096",
		"[fe80::1%25eth0]:8081", "[2001:db8::1]:80",
	} {
		check(listed, address, false)
	}
	check(free, lanAddress+":80", true)
	tries.Wait()

	hostNames.Store(0)
	for _, name := range []string{"secret.example:80", "secret:80", "secret.corp.example.:80"} {
		check(listed, name, false)
	}
	tries.Wait()
	harness.Eventually(t, 10*time.Second, "the gateway is asked for names", func() error {
		if ours.Load() == 0 {
			return os.ErrNotExist
		}
		return nil
	})
	if n, m := hostNames.Load(), outsideNames.Load(); n != 0 || m != 0 {
		t.Errorf("%d questions to the host's name server and %d to others, want none", n, m)
	}
}
