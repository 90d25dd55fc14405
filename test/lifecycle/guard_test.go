package lifecycle_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"berth/internal/porttest"
	"berth/test/harness"
)

// A unit that is started after the guard connects to it at once.
func TestGuardNotifiesSupervisorWhenListening(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	certs, address := filepath.Join(w.dir, "certs"), fmt.Sprintf("127.0.0.1:%d", porttest.Free(t))
	made := exec.CommandContext(t.Context(), harness.Binary(t), "certs", "init", "--dir", certs)
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("certs init: %v: %s", err, out)
	}
	guard := exec.CommandContext(t.Context(), harness.Binary(t), "guard", "--listen", "tcp://"+address, "--socket", "/nowhere", "--cert-dir", certs)
	guard.Env = w.env
	harness.Must(t, guard.Start())
	t.Cleanup(func() { _ = guard.Process.Kill(); _ = guard.Wait() })
	w.waitForNotification("READY=1")
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("connect to the guard once it is ready: %v", err)
	}
	_ = conn.Close()
}
