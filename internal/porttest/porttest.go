// Package porttest gives tests ports of the loopback interface that are used nowhere else (no other test, in this process or
// another one, and not the kernel for a connection of its own), and a listener there that only shakes hands.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Ports below those that the kernel gives out by itself (net.ipv4.ip_local_port_range begins at 32768), so that no program
// gets one by chance between our looking and its use.
const (
	first = 20_000
	last  = 31_999
)

// Free returns a free port. It is reserved for this test until the test has ended.
func Free(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := first + rand.IntN(last-first+1)
		if claim(t, port) && isFree(port) {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
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

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}
