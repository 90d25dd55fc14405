package session

import (
	"errors"
	"fmt"
	"time"
)

// Code is the stable name of a kind of failure. It appears in problem documents, has one outcome (package outcome), and is
// documented in docs/operating.md.
type Code string

// Every code.
const (
	CodeInvalid             Code = "invalid_request"       // the caller can correct the request
	CodeMalformed           Code = "malformed_request"     // the request cannot be read
	CodeMethod              Code = "method_not_allowed"    // the resource does not support this method
	CodeUnauthorized        Code = "unauthorized"          // no token, or a wrong one
	CodeForbidden           Code = "forbidden"             // the request is not allowed, for example because of its origin
	CodeNotFound            Code = "not_found"             // no such resource
	CodeMisdirected         Code = "misdirected_request"   // the host name is not served here
	CodeConflict            Code = "conflict"              // the session's state does not allow it, or the session has changed meanwhile
	CodeInProgress          Code = "operation_in_progress" // another operation on the session is in progress
	CodeIdempotencyMismatch Code = "idempotency_mismatch"  // the key was used for a different request
	CodeLimit               Code = "limit_reached"         // the limit of sessions is reached
	CodeOwnerLimit          Code = "owner_limit_reached"   // the limit of an owner's sessions is reached
	CodeBudget              Code = "budget_exhausted"      // the budget of a session or its owner is used up
	CodePressure            Code = "resources_critical"    // the host is short of memory or CPU time
	CodeTooManyAttempts     Code = "too_many_attempts"     // too many wrong tokens from one address
	CodeNotRunning          Code = "session_not_running"   // the session must be started first
	CodeImageNotFound       Code = "image_not_found"       // the engine has no such image
	CodePortTaken           Code = "port_unavailable"      // the engine could not publish a port
	CodeDiskFull            Code = "disk_full"             // no space left
	CodeStartFailed         Code = "start_failed"          // the container could not be started, or exited at start
	CodeStartTimeout        Code = "start_timeout"         // the server in the container did not answer in time
	CodeUpgradeFailed       Code = "upgrade_failed"        // the new image does not work; the session is back on the previous one
	CodeEngineUnavailable   Code = "engine_unavailable"    // the runtime cannot be reached
	CodeStoreUnavailable    Code = "store_unavailable"     // the store cannot be reached or written
	CodeIdentityUnavailable Code = "identity_unavailable"  // the identity provider cannot be reached
	CodeUpstream            Code = "upstream_failed"       // the session's server did not answer a request
	CodeUpstreamTimeout     Code = "upstream_timeout"      // the session's server did not send a response header in time
	CodeHeaderTooLarge      Code = "header_too_large"      // the request header, or the cookies in it, exceed the limit
	CodeTooLarge            Code = "body_too_large"        // the request body exceeds the limit
	CodeShuttingDown        Code = "shutting_down"         // this process is stopping
	CodeCanceled            Code = "canceled"              // preempted by a later operation, or the caller left
	CodeInternal            Code = "internal_error"        // a bug or an unforeseen failure
)

// Failure is the public form of an error: a code, a sentence that says what to do, and a cause that only the log sees.
type Failure struct {
	Code       Code
	Message    string        // for users; without secrets and internal addresses
	RetryAfter time.Duration // after which a retry is useful; 0: unknown
	Err        error         // for the log; may be nil
}

// Errorf returns a Failure. [Failure.Because] adds its cause.
func Errorf(code Code, format string, args ...any) *Failure {
	return &Failure{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Because returns a copy of f with its cause.
func (f *Failure) Because(err error) *Failure {
	g := *f
	g.Err = err
	return &g
}

// After returns a copy of f with a RetryAfter.
func (f *Failure) After(d time.Duration) *Failure {
	g := *f
	g.RetryAfter = d
	return &g
}

// Error returns the message and the cause, for logs. Users are shown Message.
func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Message
	}
	return f.Message + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// CodeOf returns the code of the first Failure in err's chain, CodeInternal when there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Code
	}
	return CodeInternal
}

// MessageOf returns the public message of err: the first Failure's message, and "internal error" for anything else.
func MessageOf(err error) string {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Message
	}
	return "internal error"
}

// NotFound is the error that a store returns for a session that it does not have.
func NotFound(id ID) error {
	if len(id) > maxIDSize {
		id = id[:maxIDSize] + "…"
	}
	return Errorf(CodeNotFound, "there is no session %q", string(id))
}

// Stale is the error that a store returns for an update that is based on an old revision.
func Stale(id ID) error {
	return Errorf(CodeConflict, "session %s was changed by someone else meanwhile; read it again and retry", id)
}

// AlreadyExists is the error that a store returns for a create of an ID that it has.
func AlreadyExists(id ID) error { return Errorf(CodeConflict, "there is a session %s already", id) }

// Codes lists every code.
func Codes() []Code {
	return []Code{
		CodeInvalid, CodeMalformed, CodeMethod, CodeUnauthorized, CodeForbidden, CodeNotFound, CodeMisdirected, CodeConflict, CodeInProgress, CodeIdempotencyMismatch, CodeLimit, CodeOwnerLimit,
		CodeBudget, CodePressure, CodeTooManyAttempts, CodeNotRunning, CodeImageNotFound, CodePortTaken, CodeDiskFull, CodeStartFailed,
		CodeStartTimeout, CodeUpgradeFailed, CodeEngineUnavailable, CodeStoreUnavailable, CodeIdentityUnavailable, CodeUpstream, CodeUpstreamTimeout, CodeTooLarge, CodeShuttingDown, CodeCanceled, CodeInternal,
	}
}
