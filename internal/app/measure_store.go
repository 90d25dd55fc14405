package app

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// storeCollector measures at each scrape how the store is.
type storeCollector struct {
	app *App

	up, degraded, pending, notified *prometheus.Desc
}

func newStoreCollector(a *App) prometheus.Collector {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &storeCollector{
		app: a,
		up:  desc("berth_store_up", "1 if sessions can be read and changed, also while changes are journalled; else 0."),
		degraded: desc("berth_store_degraded",
			"1 while the database is unavailable, or does not notify this process of changes; else 0."),
		pending: desc("berth_store_pending_changes", "Sessions whose changes are journalled and not in the database yet."),
		notified: desc("berth_store_notifications_up",
			"1 if the database notifies this process of changes; 0 while they are looked for every second. Only with a database."),
	}
}

// Describe implements [prometheus.Collector].
func (c *storeCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.degraded, c.pending, c.notified} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *storeCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	up := c.app.bounded(context.Background(), c.app.storage.store.Ping) == nil
	gauge(c.up, oneIf(up))
	db := c.app.storage.database
	if db == nil {
		gauge(c.degraded, 0)
		gauge(c.pending, 0)
		return
	}
	notified, degraded, pending := db.store.NotificationFault() == "", !up, 0
	if db.failover != nil {
		f := db.failover.Status()
		degraded, pending = degraded || f.Degraded, f.Pending
	}
	gauge(c.degraded, oneIf(degraded || !notified))
	gauge(c.pending, float64(pending))
	gauge(c.notified, oneIf(notified))
}

func oneIf(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
