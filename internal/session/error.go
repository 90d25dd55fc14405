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
	CodeMethod              Code = "method_not_allowed"    // the address does not answer this method
	CodeUnauthorized        Code = "unauthorized"          // no token, or not the right one
	CodeForbidden           Code = "forbidden"             // the request may not be made from there
	CodeNotFound            Code = "not_found"             // no such resource
	CodeConflict            Code = "conflict"              // the session's state forbids it, or it has changed meanwhile
	CodeInProgress          Code = "operation_in_progress" // another operation is being done to the session
	CodeIdempotencyMismatch Code = "idempotency_mismatch"  // the key was used for a different request
	CodeLimit               Code = "limit_reached"         // no more sessions fit
	CodePressure            Code = "resources_critical"    // the host is short of memory or CPU time
	CodeTooManyAttempts     Code = "too_many_attempts"     // wrong tokens came too fast from one address
	CodeNotRunning          Code = "session_not_running"   // the session must be started first
	CodeImageNotFound       Code = "image_not_found"       // the engine has no such image
	CodePortTaken           Code = "port_unavailable"      // the engine could not publish a port
	CodeDiskFull            Code = "disk_full"             // no space left
	CodeStartFailed         Code = "start_failed"          // the container could not be started, or exited at start
	CodeStartTimeout        Code = "start_timeout"         // the server in the container did not answer in time
	CodeUpgradeFailed       Code = "upgrade_failed"        // the new image does not work; the session is back on the previous one
	CodeEngineUnavailable   Code = "engine_unavailable"    // the runtime cannot be reached
	CodeStoreUnavailable    Code = "store_unavailable"     // the store cannot be reached or written
	CodeUpstream            Code = "upstream_failed"       // the session's server did not answer a request
	CodeUpstreamTimeout     Code = "upstream_timeout"      // the session's server did not begin to answer a request in time
	CodeTooLarge            Code = "body_too_large"        // the request body is over the limit
	CodeShuttingDown        Code = "shutting_down"         // this process is stopping
	CodeCanceled            Code = "canceled"              // a later operation took its place, or the caller left
	CodeInternal            Code = "internal_error"        // a bug or an unforeseen failure
)

// Failure is the public form of an error: a code, a sentence that says what to do, and a cause that only the log sees.
type Failure struct {
	Code       Code
	Message    string        // for users; no secrets, no addresses of the inside
	RetryAfter time.Duration // when it is worth trying again; 0: not said
	Err        error         // for the log; may be nil
}

// Errorf makes a Failure; the cause, when there is one, is added by [Failure.Because].
func Errorf(code Code, format string, args ...any) *Failure {
	return &Failure{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Because returns a copy of f with its cause.
func (f *Failure) Because(err error) *Failure {
	g := *f
	g.Err = err
	return &g
}

// After returns a copy of f that tells the caller when to try again.
func (f *Failure) After(d time.Duration) *Failure {
	g := *f
	g.RetryAfter = d
	return &g
}

// Error gives the message and the cause: it is for logs. Show users Message.
func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Message
	}
	return f.Message + ": " + f.Err.Error()
}

// Unwrap gives the cause.
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
		CodeInvalid, CodeMalformed, CodeMethod, CodeUnauthorized, CodeForbidden, CodeNotFound, CodeConflict, CodeInProgress, CodeIdempotencyMismatch, CodeLimit,
		CodePressure, CodeTooManyAttempts, CodeNotRunning, CodeImageNotFound, CodePortTaken, CodeDiskFull, CodeStartFailed,
		CodeStartTimeout, CodeUpgradeFailed, CodeEngineUnavailable, CodeStoreUnavailable, CodeUpstream, CodeUpstreamTimeout, CodeTooLarge, CodeShuttingDown, CodeCanceled, CodeInternal,
	}
}
