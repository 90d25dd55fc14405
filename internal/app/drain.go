package app

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// drain lets what is in flight finish, for a bounded time: first the requests, those included that are on their way on
// connections that are open already, then the operations that they have begun. Sessions go on running.
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
	quiet := make(chan struct{}) // no request can come any more
	parts.Go(func() error { return a.proxy.Drain(ctx, quiet) })
	parts.Go(func() error {
		defer close(quiet)
		return a.server.Shutdown(ctx)
	})
	if err := errors.Join(parts.Wait(), a.manager.Close(ctx)); err != nil {
		a.log.WarnContext(ctx, "not everything in flight could finish", "error", err)
	}
	return nil
}
