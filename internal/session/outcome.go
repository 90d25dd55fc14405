package session

import (
	"errors"
	"log/slog"
	"time"
)

// Outcome is what a [Code] means to those who get it, whichever way they came in.
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

var outcomes = map[Code]Outcome{
	CodeMalformed:           {400, ExitUsage, slog.LevelDebug, 0},
	CodeUnauthorized:        {401, ExitAuth, slog.LevelDebug, 0},
	CodeForbidden:           {403, ExitAuth, slog.LevelDebug, 0},
	CodeNotFound:            {404, ExitNotFound, slog.LevelDebug, 0},
	CodeMethod:              {405, ExitUsage, slog.LevelDebug, 0},
	CodeConflict:            {409, ExitConflict, slog.LevelDebug, 0},
	CodeInProgress:          {409, ExitConflict, slog.LevelDebug, soon},
	CodeCanceled:            {409, ExitFailure, slog.LevelDebug, 0},
	CodeTooLarge:            {413, ExitUsage, slog.LevelDebug, 0},
	CodeInvalid:             {422, ExitUsage, slog.LevelDebug, 0},
	CodeIdempotencyMismatch: {422, ExitConflict, slog.LevelDebug, 0},
	CodeImageNotFound:       {422, ExitNotFound, slog.LevelDebug, 0},
	CodeLimit:               {429, ExitConflict, slog.LevelDebug, freed},
	CodeTooManyAttempts:     {429, ExitAuth, slog.LevelDebug, soon},
	CodeInternal:            {500, ExitFailure, slog.LevelError, 0},
	CodeStartFailed:         {502, ExitFailure, slog.LevelWarn, 0},
	CodeUpgradeFailed:       {502, ExitFailure, slog.LevelWarn, 0},
	CodeUpstream:            {502, ExitUnavailable, slog.LevelWarn, soon},
	CodeEngineUnavailable:   {503, ExitUnavailable, slog.LevelError, later},
	CodeNotRunning:          {503, ExitConflict, slog.LevelDebug, later},
	CodePortTaken:           {503, ExitFailure, slog.LevelError, later},
	CodePressure:            {503, ExitUnavailable, slog.LevelDebug, later},
	CodeShuttingDown:        {503, ExitUnavailable, slog.LevelDebug, soon},
	CodeStoreUnavailable:    {503, ExitUnavailable, slog.LevelError, later},
	CodeStartTimeout:        {504, ExitFailure, slog.LevelWarn, 0},
	CodeUpstreamTimeout:     {504, ExitUnavailable, slog.LevelWarn, soon},
	CodeDiskFull:            {507, ExitFailure, slog.LevelError, 0},
}

// Outcome returns what the code means; an unknown code means what [CodeInternal] does.
func (c Code) Outcome() Outcome {
	if o, ok := outcomes[c]; ok {
		return o
	}
	return outcomes[CodeInternal]
}

// RetryAfter returns when it is worth trying again after err; 0: not without a change, or err is nil.
func RetryAfter(err error) time.Duration {
	if err == nil {
		return 0
	}
	if f, ok := errors.AsType[*Failure](err); ok && f.RetryAfter > 0 {
		return f.RetryAfter
	}
	return CodeOf(err).Outcome().RetryAfter
}
