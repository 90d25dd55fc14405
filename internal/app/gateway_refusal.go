package app

import (
	"context"
	"strings"
	"time"

	"berth/internal/gateway"
	"berth/internal/session"
)

// Events of refusals in a session's timeline. All are in the log, and those of its share in the audit trail.
const (
	blockedBurst = 5
	blockedEvery = time.Minute
	mostBlocked  = 4096 // sessions
	mostEvents   = 64   // that wait for the store
	mostWhat     = 1024 // bytes of what is recorded of one
)

// refusedTo records what was refused to a session.
func (w *wayOut) refusedTo(ctx context.Context, caller session.Caller, rule, what string) {
	w.refused(ctx, gateway.Refusal{Session: caller.Session, Address: caller.Address.String(), Rule: rule, What: what})
}

// refused records what the gateway has refused.
func (w *wayOut) refused(ctx context.Context, r gateway.Refusal) {
	ctx = ownRequest(ctx)
	if len(r.What) > mostWhat { // it has what a program in the container has sent
		r.What = strings.ToValidUTF8(r.What[:mostWhat], "") + "…"
	}
	w.app.named("gateway").DebugContext(ctx, "refused", "session_id", r.Session, "address", r.Address, "rule", r.Rule, "what", r.What)
	w.app.audit.RefusedEgress(ctx, r.Session, r.Address, r.Rule, r.What)
	if r.Session == "" || w.blocked.Take(r.Session) > 0 {
		return
	}
	select {
	case w.events <- r:
	default: // the store is slow, and nobody waits for a timeline
	}
}

// tell adds refusals to the timelines of sessions, until ctx ends.
func (w *wayOut) tell(ctx context.Context) {
	for {
		select {
		case r := <-w.events:
			if err := w.app.manager.Blocked(ownRequest(ctx), r.Session, r.What); err != nil {
				w.app.named("gateway").DebugContext(ctx, "refusal not added to the timeline", "session_id", r.Session, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}
