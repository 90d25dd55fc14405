package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// OperationResult is how an operation went, or that it was refused.
type OperationResult struct {
	Operation  string       // the [Kind] of an operation, [OpRotateToken], [OpCancel] or [OpSweepTokens]
	Session    session.ID   // empty: several
	Outcome    session.Code // "": it succeeded; [CodeCanceled]: it was cut short
	Duration   time.Duration
	Refused    bool               // it never began
	Automatic  bool               // a restart by Berth itself
	Forced     bool               // in place of whatever was in progress
	StopReason session.StopReason // of a stop of Berth's own
}

// What is done to sessions beside operations.
const (
	OpRotateToken = "rotate_token"
	OpCancel      = "cancel"
	OpSweepTokens = "sweep_tokens"
)

// Notice is what operators are alerted of: a session that has failed, was restarted, or ran out of memory.
type Notice struct {
	At       time.Time         `json:"at"`
	Type     session.EventType `json:"event"` // [EventUnhealthy], [EventOutOfMemory], [EventRestarted] or [EventFailed]
	Session  session.ID        `json:"session_id"`
	Owner    string            `json:"owner,omitempty"`
	Cause    Cause             `json:"cause,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Restarts int               `json:"restart_count"`
}

// Report is one thing that the Manager tells of. One of its parts is set.
type Report struct {
	Operation *OperationResult // how something went that was done to a session, or that it was refused; ctx says for whom
	Notice    *Notice          // what operators want to know at once
	Rejected  error            // a CodeLimit or CodePressure error of a create, start or wake
	Swept     int              // how many digests of expired tokens were removed
}

// Sink takes every report: the audit trail, metrics and the webhook are fed from there. Emit must not wait.
type Sink interface {
	Emit(ctx context.Context, r Report)
}

// SinkFunc is a function that is a [Sink].
type SinkFunc func(ctx context.Context, r Report)

// Emit calls f.
func (f SinkFunc) Emit(ctx context.Context, r Report) { f(ctx, r) }
