package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/test/harness"
)

// inspect is what the engine says of a session's container.
func (w *fixture) inspect(t *testing.T, id string) container.InspectResponse {
	t.Helper()
	got, err := dockertest.Client(t).ContainerInspect(t.Context(), w.patient(t, id).Container, client.ContainerInspectOptions{})
	harness.Must(t, err)
	return got.Container
}

// group reads the control group of a process: files by their names in version 1, where the controller must be given, and
// in version 2.
type group struct {
	t    *testing.T
	dirs map[string]string // by controller; "" is version 2
}

// groupOf finds the group of a container's first process, as this machine's kernel tells it.
func groupOf(t *testing.T, pid int) group {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatalf("the engine's processes are not to be seen here, so BERTH_TEST_DOCKER_SOCKET must lead to an engine of this machine: %v", err)
	}
	g := group{t: t, dirs: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for controller := range strings.SplitSeq(fields[1], ",") {
			g.dirs[controller] = filepath.Join("/sys/fs/cgroup", controller, fields[2])
		}
	}
	return g
}

// read returns the first of the files that is there; "" if none is.
func (g group) read(controller, v1, v2 string) string {
	g.t.Helper()
	for _, file := range []string{filepath.Join(g.dirs[controller], v1), filepath.Join(g.dirs[""], v2)} {
		if text, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}

func TestLimitsAreReallyOnTheContainer(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	for name, value := range map[string]string{
		"CONTAINER_MEMORY_LIMIT": "600m", "CONTAINER_CPU_QUOTA": "70000", "CONTAINER_CPU_PERIOD": "50000", "CONTAINER_PIDS_LIMIT": "123",
	} {
		w.Vars[name] = value
	}
	w.StartServe()
	id, _ := w.Create("")
	got := w.inspect(t, id)
	resources := got.HostConfig.Resources
	type limits struct{ Memory, Swap, Quota, Period, PIDs int64 }
	want := limits{Memory: 600 << 20, Swap: 600 << 20, Quota: 70_000, Period: 50_000, PIDs: 123}
	if diff := cmp.Diff(want, limits{resources.Memory, resources.MemorySwap, resources.CPUQuota, resources.CPUPeriod, *resources.PidsLimit}); diff != "" {
		t.Errorf("what the engine says (-want +got):\n%s", diff)
	}

	g := groupOf(t, got.State.Pid)
	for _, limit := range []struct{ what, got, v1, v2 string }{
		{"memory", g.read("memory", "memory.limit_in_bytes", "memory.max"), "629145600", "629145600"},
		{"memory and swap, or swap", g.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"), "629145600", "0"},
		{"CPU quota", g.read("cpu", "cpu.cfs_quota_us", "cpu.max"), "70000", "70000 50000"},
		{"CPU period", g.read("cpu", "cpu.cfs_period_us", "cpu.max"), "50000", "70000 50000"},
		{"processes", g.read("pids", "pids.max", "pids.max"), "123", "123"},
	} {
		if limit.got != limit.v1 && limit.got != limit.v2 {
			t.Errorf("the kernel's limit of %s is %q, want %s", limit.what, limit.got, limit.v1)
		}
	}
}

// The server of a session that exceeds its memory limit is killed, without effect on other sessions.
func TestOutOfMemorySessionDoesNotAffectOthers(t *testing.T) {
	t.Parallel()
	w := monitoredEnv(t)
	greedy, greedyToken := w.Create("")
	neighbour, token := w.Create("")
	w.becomes(t, greedy, "healthy", func(p observedSession) bool { return p.State == "HEALTHY" })
	before := w.inspect(t, neighbour)

	// The neighbour is at work all the while.
	ctx, rest := context.WithCancel(t.Context())
	var asked atomic.Int64
	var work sync.WaitGroup
	for range 3 {
		work.Go(func() {
			for ctx.Err() == nil {
				a, err := w.Try(t.Context(), http.MethodGet, "/s/"+neighbour+"/session", token, "")
				if asked.Add(1); err != nil || a.Status != http.StatusOK {
					t.Errorf("a neighbour's request while a session runs out of memory: got %s, %v", a, err)
					return
				}
			}
		})
	}
	_, _ = w.Try(t.Context(), http.MethodPost, "/s/"+greedy+"/allocate?mb=2000", greedyToken, "") // ends before it has answered
	w.becomes(t, greedy, "killed and restarted", restartedOnce)
	rest()
	work.Wait()

	if a := w.Call(http.MethodGet, "/sessions/"+greedy+"/events", greedyToken, ""); !strings.Contains(string(a.Body), "killed because it ran out of memory") {
		t.Errorf("the events are %s, want the reason among them", a)
	}
	after := w.inspect(t, neighbour)
	if asked.Load() < 20 || after.State.StartedAt != before.State.StartedAt || after.State.OOMKilled || after.RestartCount != 0 {
		t.Errorf("the neighbour answered %d requests and is %+v, want it untouched", asked.Load(), after.State)
	}
	if p := w.patient(t, neighbour); p.Restarts != 0 || p.State != "HEALTHY" {
		t.Errorf("the neighbour is %+v, want it healthy and never restarted", p)
	}
	select {
	case <-w.Serve.Done:
		t.Error("Berth has ended")
	default:
	}
	if a := w.Call(http.MethodGet, "/metrics", w.AdminToken(), ""); !strings.Contains(string(a.Body), `cause="out_of_memory"`) {
		t.Error("the measurements do not tell of the session that ran out of memory")
	}
}

// The host of this test uses more than a thousandth of its memory, so that it is critical for a Berth with that threshold.
func TestCriticalHostGetsNoMoreSessionsAndKeepsThoseItHas(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	id, token := w.Create("")
	stopped, _ := w.Create("")
	if a := w.Call(http.MethodPost, "/sessions/"+stopped+"/stop", w.AdminToken(), ""); a.Status != http.StatusOK {
		t.Fatalf("stop: got %s", a)
	}
	again := func(critical, warning string) {
		w.Serve.Signal(syscall.SIGTERM)
		w.Vars["RESOURCE_CRITICAL_THRESHOLD"], w.Vars["MEMORY_WARNING_THRESHOLD"], w.Vars["CPU_WARNING_THRESHOLD"] = critical, warning, warning
		w.StartServe()
	}
	again("0.001", "0.0005")
	var health struct {
		Status    string
		Resources struct {
			Status, Host string
			Memory       float64 `json:"memory_percent"`
		} `json:"system_resources"`
		Alerts []struct{ Resource, Level, Message string } `json:"resource_alerts"`
	}
	harness.Eventually(t, 10*time.Second, "the host has been looked at", func() error {
		a := w.Call(http.MethodGet, "/health", w.AdminToken(), "")
		harness.Must(t, json.Unmarshal(a.Body, &health))
		if health.Resources.Status != "critical" {
			return fmt.Errorf("it is %s", a)
		}
		return nil
	})
	if health.Status != "degraded" || health.Resources.Host != "engine" || health.Resources.Memory <= 0.001 || health.Resources.Memory > 1 ||
		len(health.Alerts) == 0 || health.Alerts[0].Level != "critical" || !strings.Contains(health.Alerts[0].Message, "critical from 0.1 %") {
		t.Errorf("/health says %+v", health)
	}
	for _, path := range []string{"/sessions", "/sessions/" + stopped + "/start"} {
		a := w.Call(http.MethodPost, path, w.AdminToken(), "")
		if a.Status != http.StatusServiceUnavailable || a.Field("code") != "resources_critical" || a.Header.Get("Retry-After") != "15" ||
			!strings.HasPrefix(a.Field("detail"), "host memory at ") || !strings.Contains(a.Field("detail"), " %, critical from 0.1 %; ") {
			t.Errorf("POST %s: got %s, want 503 with the reason", path, a)
		}
	}
	if a := w.Call(http.MethodPost, "/sessions/"+id+"/restart", w.AdminToken(), ""); a.Status != http.StatusOK {
		t.Errorf("restart of a running session: got %s, want it to keep its place", a)
	}
	if a := w.Call(http.MethodGet, "/s/"+id+"/session", token, ""); a.Status != http.StatusOK {
		t.Errorf("a running session answers %s", a)
	}
	again("1", "0.9")
	if a := w.Call(http.MethodPost, "/sessions/"+stopped+"/start", w.AdminToken(), ""); a.Status != http.StatusOK {
		t.Errorf("start on a host that is well: got %s", a)
	}
	w.Create("")
}

// used is the CPU time that a session's container has spent, and when the engine looked.
func (w *fixture) used(t *testing.T, name string) (spent time.Duration, at time.Time) {
	t.Helper()
	answer, err := dockertest.Client(t).ContainerStats(t.Context(), name, client.ContainerStatsOptions{})
	harness.Must(t, err)
	defer answer.Body.Close()
	var stats container.StatsResponse
	harness.Must(t, json.NewDecoder(answer.Body).Decode(&stats))
	return time.Duration(stats.CPUStats.CPUUsage.TotalUsage), stats.Read
}

func TestServerThatBurnsCPUGetsItsShareAndNoMore(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["CONTAINER_CPU_QUOTA"], w.Vars["CONTAINER_CPU_PERIOD"] = "50000", "100000"
	w.StartServe()
	id, token := w.Create("")
	if a := w.Call(http.MethodPost, "/s/"+id+"/burn?threads=2&for=60s", token, ""); a.Status != http.StatusOK {
		t.Fatalf("burn: got %s", a)
	}
	got := w.inspect(t, id)
	name := w.patient(t, id).Container
	const window, want, off = 3 * time.Second, 0.5, 0.1
	harness.Eventually(t, 50*time.Second, "two threads that burn get half a CPU", func() error { // others may need the machine
		before, begin := w.used(t, name)
		<-time.After(window)
		after, end := w.used(t, name)
		share := float64(after-before) / float64(end.Sub(begin))
		if share < want-off || share > want+off {
			return fmt.Errorf("over %s they get %.2f CPUs, want %.1f ± %.1f", end.Sub(begin), share, want, off)
		}
		t.Logf("over %s they get %.3f CPUs", end.Sub(begin), share)
		return nil
	})
	throttled := 0
	for line := range strings.Lines(groupOf(t, got.State.Pid).read("cpu", "cpu.stat", "cpu.stat")) {
		if number, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			throttled, _ = strconv.Atoi(strings.TrimSpace(number))
		}
	}
	if throttled == 0 {
		t.Error("the kernel has never throttled the container: what it got was not what limits it")
	}
	if a := w.Call(http.MethodGet, "/s/"+id+"/global/health", token, ""); a.Status != http.StatusOK {
		t.Errorf("the server that burns answers %s, want it to be slow at worst", a)
	}
}
