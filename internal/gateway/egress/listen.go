package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"berth/internal/session"
)

const acceptPause = 50 * time.Millisecond // after a failure of accept, such as too many open files

// accept serves the connections of a listener that come from sessions, and closes each when serve returns. It returns when ctx has
// ended or the listener was closed, and all connections have ended.
func (r *Relay) accept(ctx context.Context, l net.Listener, serve func(context.Context, net.Conn, session.Caller)) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("egress: listener %s: %w", l.Addr(), err)
			}
			r.opts.Log.ErrorContext(ctx, "connection of a session not accepted", "listener", l.Addr().String(), "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		caller, ok := r.identify(ctx, conn.RemoteAddr())
		if !ok {
			conn.Close()
			continue
		}
		conns.Go(func() {
			defer conn.Close()
			serve(ctx, conn, caller)
		})
	}
}
