package app_test

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/internal/app"
	"berth/internal/httpapi"
	"berth/internal/pressure"
)

func TestHealthIsDegradedByFullDisk(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
			t.Fatalf("a small disk needs root: %v", err)
		}
		t.Skipf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	cfg.Server.StateDir = dir
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20-96<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	machine := &host{}
	machine.set(pressure.Sample{Memory: 0.1, CPU: 0.1}, nil)
	b := startWith(t, cfg, slog.New(slog.DiscardHandler), app.WithPressure(func(o *pressure.Options) { o.Source = machine }))
	see := func(what string, want func(httpapi.Health) bool) httpapi.Health {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
			var h httpapi.Health
			if b.call(t, http.MethodGet, "/health", b.adminToken(t), &h); want(h) {
				return h
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within 30 s, but %+v", what, h)
			}
		}
	}
	h := see("full", func(h httpapi.Health) bool { return len(h.Disks) == 2 && h.Disks[0].Status == "critical" })
	if h.Status != "degraded" || len(h.Reasons) != 2 || !strings.Contains(h.Reasons[0], "engine's disk is full") {
		t.Errorf("got %s because of %q, want it degraded because of both disks", h.Status, h.Reasons)
	}
	// Both are on the same disk here: sessions are plain processes.
	if len(h.Alerts) != 2 || h.Alerts[0].Resource != "engine_disk" || h.Alerts[1].Resource != "state_disk" ||
		h.Alerts[0].Level != "critical" || !strings.Contains(h.Alerts[0].Message, dir) {
		t.Errorf("got the alerts %+v, want one for each disk that names a directory", h.Alerts)
	}
	if d := h.Disks[0]; d.Disk != "engine" || d.Path != dir || *d.Used < 0.97 || *d.Free > 96<<10 || d.MeasuredAt.IsZero() {
		t.Errorf("got %+v, want the values of a full disk", d)
	}
	if metrics := b.metrics(t); !strings.Contains(metrics, `berth_disk_used_ratio{disk="engine"} 0.9`) {
		t.Error("the metrics do not show that the disk is full")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if h := see("free again", func(h httpapi.Health) bool { return h.Status == "healthy" }); len(h.Alerts) != 0 {
		t.Errorf("got the alerts %+v when there is space again, want none", h.Alerts)
	}
}
