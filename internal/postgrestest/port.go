package postgrestest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// freePort returns a port of the loopback interface that nobody listens on and no other test gets before this one has
// ended. Tests of the whole binary claim theirs by locks of the same names.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		lock, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("berth-test-port-%d.lock", port)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				_ = l.Close()
				t.Cleanup(func() {
					_ = os.Remove(lock.Name())
					_ = lock.Close()
				})
				return port
			}
		}
		_ = lock.Close()
	}
	t.Fatal("no port is free")
	return 0
}
