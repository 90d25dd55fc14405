package app

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// drain waits a bounded time for work in flight: first for requests, including those still being sent on open
// connections, then for the operations that they started. Sessions keep running.
func (a *App) drain(ctx context.Context) error {
	a.notifySupervisor(stateStopping)
	a.reconciled.Store(false)
	close(a.draining)
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Server.DrainTimeout.Duration())
	defer cancel()
	if n := a.proxy.InFlight(); n > 0 {
		a.log.InfoContext(ctx, "waiting for requests in flight", "requests", n, "at_most", a.cfg.Server.DrainTimeout.String())
	}
	var parts errgroup.Group
	quiet := make(chan struct{}) // closed when no request can arrive any more
	parts.Go(func() error { return a.proxy.Drain(ctx, quiet) })
	parts.Go(func() error {
		defer close(quiet)
		return a.server.Shutdown(ctx)
	})
	if a.redirect != nil {
		parts.Go(func() error { return a.redirect.Shutdown(ctx) })
	}
	if err := errors.Join(parts.Wait(), a.manager.Close(ctx)); err != nil {
		a.log.WarnContext(ctx, "drain incomplete, requests or operations were cut off", "error", err)
	}
	return nil
}
