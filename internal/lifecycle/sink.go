package lifecycle

import (
	"context"
	"time"

	"berth/internal/session"
)

// OperationResult is the outcome of an operation, or its refusal.
type OperationResult struct {
	Operation  string       // the [Kind] of an operation, or one of those below
	Session    session.ID   // empty: several
	Outcome    session.Code // "": it succeeded; [CodeCanceled]: it was interrupted
	Duration   time.Duration
	Refused    bool               // it never began
	Automatic  bool               // a restart by Berth itself
	Forced     bool               // it preempts any operation in progress
	StopReason session.StopReason // of a stop of Berth's own
}

// The values of OperationResult.Operation beside the kinds.
const (
	OpRotateToken = "rotate_token"
	OpCancel      = "cancel"
	OpSweepTokens = "sweep_tokens"
	OpNewLink     = "new_sign_in_link"
	OpSignIn      = "sign_in"
	OpSignOut     = "sign_out"
	OpNewPairing  = "new_pairing_code"
	OpPair        = "pair_device"
)

// Notice is an alert to operators about a session that has failed, was restarted, or ran out of memory.
type Notice struct {
	At       time.Time         `json:"at"`
	Type     session.EventType `json:"event"` // [EventUnhealthy], [EventOutOfMemory], [EventRestarted] or [EventFailed]
	Session  session.ID        `json:"session_id"`
	Owner    string            `json:"owner,omitempty"`
	Cause    Cause             `json:"cause,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Restarts int               `json:"restart_count"`
}

// Report is one item that the Manager emits. Exactly one of its fields is set.
type Report struct {
	Operation *OperationResult // the outcome or the refusal of an operation; its actor is that of ctx
	Notice    *Notice          // an alert to operators
	Rejected  error            // a CodeLimit or CodePressure error of a create, start or wake
	Swept     int              // number of removed digests of expired tokens
}

// Sink receives every report, for the audit trail, metrics and the webhook. Emit must not block.
type Sink interface {
	Emit(ctx context.Context, r Report)
}

// SinkFunc adapts a function to a [Sink].
type SinkFunc func(ctx context.Context, r Report)

// Emit calls f.
func (f SinkFunc) Emit(ctx context.Context, r Report) { f(ctx, r) }
