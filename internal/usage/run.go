package usage

import (
	"context"
	"time"
)

// Run gives the store what it did not take before, and maintains it, until ctx is done.
func (l *Ledger) Run(ctx context.Context) error {
	l.maintain(ctx)
	retry, maintain := time.NewTicker(retryEvery), time.NewTicker(MaintainEvery)
	defer retry.Stop()
	defer maintain.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
			_ = l.flush(ctx) // logged when it was kept; retried in a second
		case <-maintain.C:
			l.maintain(ctx)
		}
	}
}

func (l *Ledger) maintain(ctx context.Context) {
	l.forget()
	if err := l.store.Maintain(ctx); err != nil && ctx.Err() == nil {
		l.opts.Logger.WarnContext(ctx, "the store of usage was not maintained, retrying", "error", err)
	}
}

// Close gives the store what it did not take before. What it still does not take is in the journal for the next start, or,
// without one, is counted there by its estimate.
func (l *Ledger) Close(ctx context.Context) error { return l.flush(ctx) }
