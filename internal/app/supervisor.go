package app

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// The states of sd_notify(3) that Berth tells of.
const (
	stateReady    = "READY=1"
	stateStopping = "STOPPING=1"
	stateAlive    = "WATCHDOG=1"
)

// notifySupervisor tells the supervisor, if there is one.
func (a *App) notifySupervisor(states string) {
	if a.around.notify != nil {
		a.around.notify(states)
	}
}

// lifeTimeout bounds the look at ourselves that is made before the supervisor is told that we live.
const lifeTimeout = 5 * time.Second

// sendWatchdog tells the supervisor twice in each of its intervals that this process lives, until ctx ends: as long as it
// answers a request like anybody's, and the manager of sessions one about all of them. A process that stops needs not to.
func (a *App) sendWatchdog(ctx context.Context) {
	if a.around.notify == nil || a.around.watchdog <= 0 {
		return
	}
	tick := time.NewTicker(a.around.watchdog / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := a.lives(ctx); err != nil {
			a.log.ErrorContext(ctx, "the supervisor is not told that this process lives", "error", err)
			continue
		}
		a.notifySupervisor(stateAlive)
	}
}

// lives says why this process does not do its work; nil while it stops, which has a time-out of its own.
func (a *App) lives(ctx context.Context) error {
	select {
	case <-a.draining:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, min(lifeTimeout, a.around.watchdog/2))
	defer cancel()
	answered := make(chan struct{})
	go func() { a.manager.Healths(); close(answered) }() // it waits for a lock, and for nothing else
	select {
	case <-answered:
	case <-ctx.Done():
		return fmt.Errorf("the manager of sessions does not answer: %w", ctx.Err())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Addr().String()+"/livez", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("it does not answer itself: %w", err)
	}
	return resp.Body.Close()
}
