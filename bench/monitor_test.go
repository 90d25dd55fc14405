package bench_test

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/internal/lifecycle"
	"berth/internal/sessiontest"
)

// BenchmarkMonitor measures the cost of monitoring 5,000 sessions: memory per session, and processor time per probe, with
// servers that respond at once. One iteration is ten seconds, in which each session is probed once.
//
//	go test -run '^$' -bench Monitor -benchtime 3x ./bench
func BenchmarkMonitor(b *testing.B) {
	const sessions, every = 5000, 10 * time.Second
	before := heap()
	h := sessiontest.NewFast(b, func(o *lifecycle.Options) {
		o.Health = lifecycle.HealthOptions{CheckEvery: every, MaxRestarts: 3}
		o.ReconcileEvery, o.OrphanGrace = time.Hour, time.Hour
	})
	var makers errgroup.Group
	makers.SetLimit(500) // their records are written together
	for range sessions {
		makers.Go(func() error { h.Make(lifecycle.Request{}); return nil })
	}
	_ = makers.Wait()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, nil) }()
	<-time.After(every) // every session has its offset in the interval
	perSession := float64(heap()-before) / sessions
	probes, used := count(h), processorTime(b)
	for b.Loop() {
		<-time.After(every)
	}
	probes, used = count(h)-probes, processorTime(b)-used
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	if probes < sessions {
		b.Errorf("%d probes of %d sessions in %d intervals", probes, sessions, b.N)
	}
	b.ReportMetric(float64(used.Microseconds())/float64(probes), "µs-cpu/probe")
	b.ReportMetric(100*used.Seconds()/(float64(b.N)*every.Seconds()), "%cpu")
	b.ReportMetric(perSession/1024, "KiB/session")
}

func count(h *sessiontest.Fixture) (probes int64) {
	for _, v := range h.Healths() {
		probes += v.TotalChecks
	}
	return probes
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
