package lifecycle

import (
	"context"
	"sync"
	"time"
)

// Run resumes interrupted work and reconciles records and containers, at once and then at intervals, writes activity to the store,
// and follows the changes of other processes. It returns nil when ctx ends. ready is called after the first successful pass.
func (m *Manager) Run(ctx context.Context, ready func()) error {
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { m.follower.watchFeed(ctx) })
	others.Go(func() { m.follower.locateAll(ctx) })
	others.Go(func() { m.monitor.watchHealth(ctx) })
	others.Go(func() { m.idle.run(ctx) })
	others.Go(func() { m.sweepTokens(ctx) })
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := detach(ctx)
			defer cancel()
			return m.activity.flush(last)
		case <-flush.C:
			if err := m.activity.flush(ctx); err != nil && ctx.Err() == nil {
				m.opts.Logger.WarnContext(ctx, "activity not written, kept for the next flush", "error", err)
			}
			if m.deferred.anyReady(m.opts.Peers) {
				m.soon.raise()
			}
		case <-m.soon:
			wait.Reset(0)
		case <-wait.C:
			wait.Reset(m.opts.ReconcileEvery)
			if err := m.reconciler.reconcileAll(ctx); err != nil {
				if ready != nil { // requests are served only after the first pass, so retry soon
					wait.Reset(firstRetry)
				}
				if ctx.Err() == nil {
					m.opts.Logger.ErrorContext(ctx, "reconciliation skipped", "error", err)
				}
			} else if ready != nil {
				ready()
				ready = nil
			}
		}
	}
}

// firstRetry is how soon a first pass that failed is tried again.
const firstRetry = time.Second

// PeersChanged starts a reconciliation at once, so that the operations and sessions of a process that has ended are taken over
// before the next regular pass.
func (m *Manager) PeersChanged() { m.soon.raise() }
