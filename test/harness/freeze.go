package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Freeze stops a process as if it hung, until SIGCONT, and waits until each of its threads has stopped: the signal is
// delivered asynchronously, and a thread on another processor may continue for a while.
func Freeze(t testing.TB, p *os.Process) {
	t.Helper()
	Must(t, p.Signal(syscall.SIGSTOP))
	Eventually(t, 10*time.Second, "every thread has stopped", func() error {
		threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(p.Pid), "task", "*", "stat"))
		Must(t, err)
		if len(threads) == 0 {
			t.Fatalf("process %d is gone", p.Pid)
		}
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err != nil {
				return err
			}
			// The name, in brackets, may contain anything; the state follows it.
			if after := stat[bytes.LastIndexByte(stat, ')')+1:]; !bytes.HasPrefix(after, []byte(" T")) {
				return fmt.Errorf("%s is running: %.60s", thread, stat)
			}
		}
		return nil
	})
}
