package metrics_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/metrics"
	"berth/internal/session"
	"berth/internal/storage"
	"berth/internal/storage/record"
)

// values gathers the metrics that have no labels.
func values(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		all[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	return all
}

func TestStorageIsDegradedWithoutItsDatabaseOrNotifications(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		up    bool
		state storage.State
		want  map[string]float64
	}{
		"a file": {true, storage.State{}, map[string]float64{
			"berth_store_up": 1, "berth_store_degraded": 0, "berth_store_pending_changes": 0,
		}},
		"a file that cannot be written": {false, storage.State{}, map[string]float64{
			"berth_store_up": 0, "berth_store_degraded": 0, "berth_store_pending_changes": 0,
		}},
		"a database": {true, storage.State{Database: true, Notified: true}, map[string]float64{
			"berth_store_up": 1, "berth_store_degraded": 0, "berth_store_pending_changes": 0, "berth_store_notifications_up": 1,
		}},
		"a journal": {true, storage.State{Database: true, Degraded: true, Notified: true, Pending: 3}, map[string]float64{
			"berth_store_up": 1, "berth_store_degraded": 1, "berth_store_pending_changes": 3, "berth_store_notifications_up": 1,
		}},
		"no notifications": {true, storage.State{Database: true}, map[string]float64{
			"berth_store_up": 1, "berth_store_degraded": 1, "berth_store_pending_changes": 0, "berth_store_notifications_up": 0,
		}},
		"no database and no journal": {false, storage.State{Database: true, Notified: true}, map[string]float64{
			"berth_store_up": 0, "berth_store_degraded": 1, "berth_store_pending_changes": 0, "berth_store_notifications_up": 1,
		}},
	} {
		got := values(t, metrics.Storage(func() bool { return row.up }, func() storage.State { return row.state }))
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
	}
}

// counter is a store that only answers Count.
type counter struct {
	session.Store
	asked int
}

func (c *counter) Count(context.Context, time.Time) (record.Counts, error) {
	c.asked++
	return record.NewCounts(), nil
}

func (c *counter) Delete(context.Context, session.ID, int64) error { return nil }

func TestCountsAreRefreshedAfterChange(t *testing.T) {
	t.Parallel()
	asked := &counter{}
	s := metrics.New(prometheus.NewRegistry()).Store(asked)
	count := func(want int, when string) {
		t.Helper()
		if _, err := s.Count(t.Context()); err != nil || asked.asked != want {
			t.Errorf("%s: %v, asked %d times, want %d", when, err, asked.asked, want)
		}
	}
	count(1, "first")
	count(1, "at once")
	if err := s.Delete(t.Context(), "ses-a", 1); err != nil {
		t.Fatal(err)
	}
	count(2, "after a change")
}
