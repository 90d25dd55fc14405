package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// listenNextDoor listens in a network of its own that this machine forwards to, as to the internet. Containers do not reach this
// machine itself where Berth's firewall rules are installed.
func listenNextDoor(t testing.TB) net.Listener {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a network of its own takes root")
	}
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	// 198.18.0.0/15 is for tests of networks: RFC 2544. The kernel removes the interfaces with the network, when the listener is closed.
	n := rand.IntN(1 << 14)
	subnet := fmt.Sprintf("198.%d.%d.", 18+n>>13, n>>5&0xff)
	outer, inner, device := fmt.Sprint(subnet, n&31*8+1), fmt.Sprint(subnet, n&31*8+2), fmt.Sprintf("test%x", n)
	var listener net.Listener
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		var err error
		listener, err = listenInNewNetwork(inner, strings.NewReplacer(
			"OUTER", outer, "INNER", inner, "DEVICE", device, "HERE", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), here.Fd()),
		).Replace("ip link set lo up && ip link add inner type veth peer name DEVICE netns HERE && ip addr add INNER/29 dev inner && "+
			"ip link set inner up && ip route add default via OUTER && nsenter --net=HERE sh -c 'ip addr add OUTER/29 dev DEVICE && ip link set DEVICE up'"))
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return listener
}

// listenInNewNetwork moves the calling thread into a new network, sets it up with a shell script, and listens there.
func listenInNewNetwork(address, script string) (net.Listener, error) {
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("set up a network: %w: %s", err, out)
	}
	return net.Listen("tcp", net.JoinHostPort(address, "0"))
}
