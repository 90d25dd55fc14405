package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Ports below those that the kernel gives out by itself (net.ipv4.ip_local_port_range begins at 32768), so that nobody
// gets one by chance between our looking and its use.
const (
	firstPort = 20_000
	lastPort  = 31_999
)

// FreeAddress returns an address of the loopback interface that nobody listens on. No other test gets it, in this
// process or another one, before this test has ended.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if address := fmt.Sprintf("127.0.0.1:%d", port); claim(t, port) && isFree(address) {
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// claim takes a port for this test among all tests of the machine.
func claim(t testing.TB, port int) bool {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("berth-test-port-%d.lock", port)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = lock.Close()
		return false
	}
	t.Cleanup(func() {
		_ = os.Remove(lock.Name())
		_ = lock.Close()
	})
	return true
}

func isFree(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}
