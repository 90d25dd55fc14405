package app

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// The states of sd_notify(3) that Berth sends.
const (
	stateReady    = "READY=1"
	stateStopping = "STOPPING=1"
	stateAlive    = "WATCHDOG=1"
)

// notifySupervisor sends a state to the supervisor, if there is one.
func (a *App) notifySupervisor(states string) {
	if a.around.notify != nil {
		a.around.notify(states)
	}
}

// selfCheckTimeout bounds the self-check before each watchdog notification.
const selfCheckTimeout = 5 * time.Second

// sendWatchdog notifies the supervisor twice per watchdog interval until ctx ends, as long as this process answers an HTTP
// request and the session manager answers a query about all sessions. A process that is stopping need not answer.
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
		if err := a.selfCheck(ctx); err != nil {
			a.log.ErrorContext(ctx, "self-check failed, watchdog notification withheld", "error", err)
			continue
		}
		a.notifySupervisor(stateAlive)
	}
}

// selfCheck returns why this process does not work; nil while it is stopping, which has a timeout of its own.
func (a *App) selfCheck(ctx context.Context) error {
	select {
	case <-a.draining:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, min(selfCheckTimeout, a.around.watchdog/2))
	defer cancel()
	answered := make(chan struct{})
	go func() { a.manager.Healths(); close(answered) }() // waits for one lock only
	select {
	case <-answered:
	case <-ctx.Done():
		return fmt.Errorf("the session manager does not answer: %w", ctx.Err())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Addr().String()+"/livez", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("the process does not answer its own request: %w", err)
	}
	return resp.Body.Close()
}
