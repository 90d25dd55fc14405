package database_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/test/harness"
)

// metric returns a figure of /metrics by its name with its labels; false: it is not there.
func metric(t *testing.T, w *harness.Env, name string) (float64, bool) {
	t.Helper()
	a := w.Call(http.MethodGet, "/metrics", w.AdminToken(), "")
	for line := range strings.Lines(string(a.Body)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			harness.Must(t, err)
			return value, true
		}
	}
	return 0, false
}

func TestMetricsOfDatabaseOutage(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	w.Create("")
	are := func(up, degraded, pending float64) {
		t.Helper()
		harness.Eventually(t, 30*time.Second, "the metrics tell how the store is", func() error {
			for name, want := range map[string]float64{"berth_store_up": up, "berth_store_degraded": degraded, "berth_store_pending_changes": pending} {
				if got, ok := metric(t, w.Env, name); !ok || got != want {
					return fmt.Errorf("%s is %v (%v), want %v", name, got, ok, want)
				}
			}
			return nil
		})
	}
	are(1, 0, 0)
	w.db.Stop()
	degraded(t, w.Env)
	are(1, 1, 0)
	w.Create("")
	w.Create("")
	are(1, 1, 2)
	w.db.Start()
	healthy(t, w.Env)
	are(1, 0, 0)
	if got, ok := metric(t, w.Env, "berth_store_notifications_up"); !ok || got != 1 {
		t.Errorf("berth_store_notifications_up is %v (%v), want 1", got, ok)
	}
}

func TestMetricsWithoutFallback(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["DB_FALLBACK"] = "false"
	w.StartServe()
	w.db.Stop()
	harness.Eventually(t, 30*time.Second, "the store is down", func() error {
		if up, ok := metric(t, w.Env, "berth_store_up"); !ok || up != 0 {
			return fmt.Errorf("berth_store_up is %v (%v), want 0", up, ok)
		}
		return nil
	})
}

// Frequent reads of /health and /metrics use cached counts, which include the changes of this instance.
func TestCountsAreCached(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"database", "json"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			if backend == "json" {
				delete(w.Vars, "USE_DATABASE_STORAGE")
				delete(w.Vars, "DATABASE_URL")
			}
			w.StartServe()
			for want := 1; want <= 2; want++ {
				w.Create("")
				a := w.Call(http.MethodGet, "/health", w.AdminToken(), "")
				if !strings.Contains(string(a.Body), fmt.Sprintf(`"running":%d`, want)) {
					t.Errorf("after create %d: got %s", want, a)
				}
				if got, _ := metric(t, w.Env, `berth_sessions{status="running"}`); got != float64(want) {
					t.Errorf("after create %d: berth_sessions is %v", want, got)
				}
			}
			const counts, lists = `berth_store_call_seconds_count{call="count",outcome="ok"}`, `berth_store_call_seconds_count{call="list",outcome="ok"}`
			countsBefore, _ := metric(t, w.Env, counts)
			listsBefore, _ := metric(t, w.Env, lists)
			begun := time.Now()
			const reads = 200
			for range reads {
				w.Call(http.MethodGet, "/health", w.AdminToken(), "")
			}
			most := 2 + time.Since(begun).Seconds() // one in a second, and one at each end
			if after, ok := metric(t, w.Env, counts); !ok || after-countsBefore > most {
				t.Errorf("%d reads in %s made the store count %v times, want at most %.0f", reads, time.Since(begun), after-countsBefore, most)
			}
			if after, _ := metric(t, w.Env, lists); after-listsBefore > most {
				t.Errorf("%d reads in %s listed all sessions %v times", reads, time.Since(begun), after-listsBefore)
			}
		})
	}
}
