package app_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"berth/internal/httpapi"
)

func TestStatusLimitBuildAndFindingsAreMeasured(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Limits.MaxSessions = 7
	b := start(t, cfg)
	want := func(when string, samples, want map[string]float64, absent ...string) {
		t.Helper()
		for sample, value := range want {
			if got, ok := samples[sample]; !ok || got != value {
				t.Errorf("%s: %s is %v (%v), want %v; there is %v", when, sample, got, ok, value, slices.Sorted(maps.Keys(samples)))
			}
		}
		for _, sample := range absent {
			if got, ok := samples[sample]; ok {
				t.Errorf("%s: %s is %v, want none", when, sample, got)
			}
		}
	}
	want("at first", b.scrape(t), map[string]float64{
		"berth_session_limit{}": 7, "berth_build_info{goversion=" + runtime.Version() + ",version=test}": 1,
		"berth_health_status{status=healthy}": 1, "berth_health_status{status=degraded}": 0, "berth_health_status{status=unhealthy}": 0,
	}, "berth_security_check_findings{severity=fail}", "berth_security_check_timestamp_seconds{}")

	checked := time.Date(2024, 1, 15, 10, 30, 45, 0, time.UTC)
	b.SetSecurityCheck(&httpapi.SecurityCheck{Status: "fail", CheckedAt: checked, Items: []httpapi.SecurityCheckItem{
		{Item: 1, Status: "fail", Findings: []httpapi.SecurityCheckFinding{{Status: "fail", Code: "a"}, {Status: "warn", Code: "b"}, {Status: "pass", Code: "c"}}},
		{Item: 2, Status: "warn", Findings: []httpapi.SecurityCheckFinding{{Status: "warn", Code: "d"}}},
		{Item: 3, Status: "skipped", Findings: []httpapi.SecurityCheckFinding{{Status: "skipped", Code: "e"}}},
	}})
	want("after a check", b.scrape(t), map[string]float64{
		"berth_security_check_findings{severity=fail}": 1, "berth_security_check_findings{severity=warn}": 2,
		"berth_security_check_timestamp_seconds{}": float64(checked.Unix()),
	})

	// The status of /health and that of the metrics are the same.
	locks, err := filepath.Glob(filepath.Join(cfg.Server.StateDir, "sessions*.lock"))
	if err != nil || len(locks) != 1 {
		t.Fatalf("the store's lock: %v, %v", locks, err)
	}
	if err := os.Remove(locks[0]); err != nil {
		t.Fatal(err)
	}
	if status := b.call(t, http.MethodGet, "/health", b.adminToken(t), nil); status != http.StatusServiceUnavailable {
		t.Fatalf("a store that has lost its lock: got %d, want 503", status)
	}
	want("without its store", b.scrape(t), map[string]float64{
		"berth_health_status{status=healthy}": 0, "berth_health_status{status=unhealthy}": 1,
	})
}
