package app

import (
	"context"

	"berth/internal/usage"
)

// openUsage opens the ledger of what sessions use of models.
func (a *App) openUsage() (err error) {
	a.ledger, err = usage.NewLedger(a.storage.Usage, usage.Options{
		Budgets: a.cfg.Budgets.Limits(), Journal: a.storage.UsageJournal, Logger: a.named("usage"),
		Settled: a.metrics.ModelCalled, Refused: a.metrics.BudgetRefused,
	})
	if err != nil {
		return err
	}
	a.onStop("usage", func(ctx context.Context) error { return a.ledger.Close(ctx) })
	return nil
}
