package main

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/alecthomas/kong"

	"berth/internal/config"
	"berth/internal/outcome"
	"berth/internal/session"
)

// Exit codes; "berth --help" documents them. [outcome.Of] has the exit code of each failure.
const (
	exitOK          = 0
	exitFailure     = outcome.ExitFailure
	exitUsage       = outcome.ExitUsage
	exitNotFound    = outcome.ExitNotFound
	exitConflict    = outcome.ExitConflict
	exitAuth        = outcome.ExitAuth
	exitUnavailable = outcome.ExitUnavailable
)

// commandError is an error with an exit code, a hint, or both.
type commandError struct {
	code int    // 0: that of the cause
	hint string // one sentence; may be empty
	err  error
}

// Error is the cause's message.
func (e *commandError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *commandError) Unwrap() error { return e.err }

// Hint is printed on a separate line, unless it is empty.
func (e *commandError) Hint() string { return e.hint }

// usageError marks an error as a usage error: wrong flags, arguments or settings. For an error of the parser the hint names
// the command's help. It is nil for nil.
func usageError(err error) error {
	if err == nil {
		return nil
	}
	usage := &commandError{code: exitUsage, err: err}
	if p, ok := errors.AsType[*kong.ParseError](err); ok {
		command := "berth"
		if node := p.Context.Selected(); node != nil {
			command = commandPath(node)
		}
		usage.hint = fmt.Sprintf("run %q", command+" --help")
	}
	return usage
}

// commandPath is a command as it is typed, without the aliases that the parser adds.
func commandPath(node *kong.Node) string {
	if node.Parent == nil {
		return node.Name
	}
	return commandPath(node.Parent) + " " + node.Name
}

// withHint adds a hint to an error: what to do about it. It is nil for nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &commandError{err: err, hint: fmt.Sprintf(format, args...)}
}

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	for e := err; e != nil; {
		known, ok := errors.AsType[*commandError](e)
		if !ok {
			break
		}
		if known.code != 0 {
			return known.code
		}
		e = known.err
	}
	if problem, ok := errors.AsType[*apiError](err); ok {
		return outcome.Of(problem.Code).Exit
	}
	if failure, ok := errors.AsType[*session.Failure](err); ok && outcome.Of(failure.Code).Exit != exitFailure {
		return outcome.Of(failure.Code).Exit
	}
	if _, ok := errors.AsType[*config.FaultsError](err); ok {
		return exitUsage
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return exitUnavailable
	}
	return exitFailure
}

// report prints an error and its hint.
func report(w io.Writer, err error) {
	if err == nil {
		return
	}
	_, _ = fmt.Fprintf(w, "berth: %s\n", printable(err.Error()))
	if hint := hintOf(err); hint != "" {
		_, _ = fmt.Fprintf(w, "hint: %s\n", printable(hint))
	}
}

// hintOf is the outermost hint in err's chain; "" when there is none.
func hintOf(err error) string {
	var advice interface {
		error
		Hint() string
	}
	for errors.As(err, &advice) {
		if hint := advice.Hint(); hint != "" {
			return hint
		}
		err = errors.Unwrap(advice)
	}
	return ""
}
