package bench_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/test/harness"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// idleLimit is the limit for an idle serve, in bytes.
const idleLimit = 40 << 20

// BenchmarkIdleMemory reports the resident memory of serve some seconds after it has created a session. It fails above the
// limit: memory, unlike time, does not depend on the load of the machine.
func BenchmarkIdleMemory(b *testing.B) {
	w := harness.New(b)
	w.Profiles(map[string]session.Profile{"stub": dockertest.StubProfile(b)})
	w.Vars["BERTH_PROFILE"], w.Vars["CONTAINER_MEMORY_LIMIT"], w.Vars["LOG_LEVEL"] = "stub", "512m", "INFO"
	w.StartServe()
	w.Create(`{}`)
	var rss int
	for b.Loop() {
		<-time.After(5 * time.Second)
		rss = residentKB(b, w.Serve.Cmd.Process.Pid) << 10
	}
	b.ReportMetric(float64(rss)/(1<<20), "MiB/serve")
	if rss > idleLimit {
		b.Errorf("serve holds %d bytes when idle, the goal is %d", rss, idleLimit)
	}
}

func residentKB(b *testing.B, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) > 1 && string(fields[0]) == "VmRSS:" {
			n, err := strconv.Atoi(string(fields[1]))
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
