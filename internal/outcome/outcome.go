// Package outcome says what a failure's code means outside: status of a response, exit code, log level, and when to retry.
//
// It refuses to know who writes the response or the log: API, proxy and command line all read this one table.
package outcome

import (
	"errors"
	"log/slog"
	"time"

	"berth/internal/session"
)

// Outcome is what a [session.Code] means to those who get it, whichever way they came in.
type Outcome struct {
	Status     int           // of the HTTP response, 400 to 599
	Exit       int           // of the command line
	Level      slog.Level    // at which it is logged: DEBUG where it is the caller's affair
	RetryAfter time.Duration // when the same request may succeed, unless the failure says so itself; 0: not without a change
}

// Exit codes of the command line.
const (
	ExitFailure     = 1 // anything else
	ExitUsage       = 2 // the request, an argument or a setting is wrong
	ExitNotFound    = 3
	ExitConflict    = 4 // the state of the session or a limit forbids it
	ExitAuth        = 5
	ExitUnavailable = 6 // something that is needed does not answer
)

// When it is worth asking again: for what passes by itself in a moment, and for what somebody has to repair or to free.
const (
	soon  = time.Second
	later = 5 * time.Second
	freed = 30 * time.Second
)

var outcomes = map[session.Code]Outcome{
	session.CodeMalformed:           {400, ExitUsage, slog.LevelDebug, 0},
	session.CodeUnauthorized:        {401, ExitAuth, slog.LevelDebug, 0},
	session.CodeForbidden:           {403, ExitAuth, slog.LevelDebug, 0},
	session.CodeNotFound:            {404, ExitNotFound, slog.LevelDebug, 0},
	session.CodeMethod:              {405, ExitUsage, slog.LevelDebug, 0},
	session.CodeConflict:            {409, ExitConflict, slog.LevelDebug, 0},
	session.CodeInProgress:          {409, ExitConflict, slog.LevelDebug, soon},
	session.CodeOwnerLimit:          {409, ExitConflict, slog.LevelDebug, 0},
	session.CodeCanceled:            {409, ExitFailure, slog.LevelDebug, 0},
	session.CodeTooLarge:            {413, ExitUsage, slog.LevelDebug, 0},
	session.CodeMisdirected:         {421, ExitUsage, slog.LevelDebug, 0},
	session.CodeInvalid:             {422, ExitUsage, slog.LevelDebug, 0},
	session.CodeIdempotencyMismatch: {422, ExitConflict, slog.LevelDebug, 0},
	session.CodeImageNotFound:       {422, ExitNotFound, slog.LevelDebug, 0},
	session.CodeBudget:              {429, ExitUnavailable, slog.LevelDebug, 0},
	session.CodeLimit:               {429, ExitConflict, slog.LevelDebug, freed},
	session.CodeTooManyAttempts:     {429, ExitAuth, slog.LevelDebug, soon},
	session.CodeHeaderTooLarge:      {431, ExitUsage, slog.LevelDebug, 0},
	session.CodeInternal:            {500, ExitFailure, slog.LevelError, 0},
	session.CodeStartFailed:         {502, ExitFailure, slog.LevelWarn, 0},
	session.CodeUpgradeFailed:       {502, ExitFailure, slog.LevelWarn, 0},
	session.CodeUpstream:            {502, ExitUnavailable, slog.LevelWarn, soon},
	session.CodeEngineUnavailable:   {503, ExitUnavailable, slog.LevelError, later},
	session.CodeIdentityUnavailable: {503, ExitUnavailable, slog.LevelDebug, later}, // package oidc logs it, however many ask
	session.CodeNotRunning:          {503, ExitConflict, slog.LevelDebug, later},
	session.CodePortTaken:           {503, ExitFailure, slog.LevelError, later},
	session.CodePressure:            {503, ExitUnavailable, slog.LevelDebug, later},
	session.CodeShuttingDown:        {503, ExitUnavailable, slog.LevelDebug, soon},
	session.CodeStoreUnavailable:    {503, ExitUnavailable, slog.LevelError, later},
	session.CodeStartTimeout:        {504, ExitFailure, slog.LevelWarn, 0},
	session.CodeUpstreamTimeout:     {504, ExitUnavailable, slog.LevelWarn, soon},
	session.CodeDiskFull:            {507, ExitFailure, slog.LevelError, 0},
}

// Of returns what the code means; an unknown code means what [session.CodeInternal] does.
func Of(code session.Code) Outcome {
	if o, ok := outcomes[code]; ok {
		return o
	}
	return outcomes[session.CodeInternal]
}

// RetryAfter returns when it is worth trying again after err; 0: not without a change, or err is nil.
func RetryAfter(err error) time.Duration {
	if err == nil {
		return 0
	}
	if f, ok := errors.AsType[*session.Failure](err); ok && f.RetryAfter > 0 {
		return f.RetryAfter
	}
	return Of(session.CodeOf(err)).RetryAfter
}
