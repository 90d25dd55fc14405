package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"berth/internal/session"
)

// tries is the maximum number of attempts of a call that the database aborts because of a deadlock.
const tries = 5

// do makes one call within the store's time-out. Its error is a *session.Failure, or nil.
func (s *Store) do(ctx context.Context, call func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	var err error
	for range tries {
		if err = call(within); !isDeadlock(err) {
			break
		}
	}
	return explain(ctx, err)
}

// write is do for a call that is one transaction.
func (s *Store) write(ctx context.Context, call func(context.Context, pgx.Tx) error) error {
	return s.do(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return call(ctx, tx) })
	})
}

// SQLSTATEs, from appendix A of PostgreSQL's manual.
const (
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	badByteSequence       = "22021"
	untranslatable        = "22P05"
	datetimeOutOfRange    = "22008"
	tooManyConnections    = "53300"
	diskFull              = "53100"
	readOnlyTransaction   = "25006"
	noSuchDatabase        = "3D000"
	insufficientPrivilege = "42501"
	undefinedTable        = "42P01"
	undefinedColumn       = "42703"
	noSuchStatement       = "26000"
	duplicateStatement    = "42P05"
)

func stateOf(err error) string {
	if fault, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fault.Code
	}
	return ""
}

func isDeadlock(err error) bool {
	state := stateOf(err)
	return state == serializationFailure || state == deadlockDetected
}

// explain converts an error of the database or its client to one for callers of the store.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*session.Failure](err); ok {
		return f
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return session.Errorf(session.CodeCanceled, "the caller left before the database answered").Because(errors.Join(context.Canceled, err))
	}
	state := stateOf(err)
	switch state {
	case badByteSequence, untranslatable:
		return session.Errorf(session.CodeInvalid, "this session holds characters that the database cannot store, like U+0000").Because(err)
	case datetimeOutOfRange:
		return session.Errorf(session.CodeInvalid, "this session holds a time that the database cannot store").Because(err)
	}
	return session.Errorf(session.CodeStoreUnavailable, "%s", reason(state, err)).Because(err).After(retryAfter)
}

// reason is the cause of a failure of the database, for operators. docs/operating.md has the remedy for each.
func reason(state string, err error) string {
	switch {
	case strings.HasPrefix(state, "28"):
		return "the database refuses the user"
	case isPoolerState(state):
		return poolerReason
	case state == tooManyConnections:
		return "the database has no connection left"
	case state == diskFull:
		return "the database's disk is full"
	case state == readOnlyTransaction:
		return "the database is read-only"
	case state == noSuchDatabase:
		return "there is no database of that name"
	case state == insufficientPrivilege:
		return "the database's user may not do this; it must own its tables"
	case state == undefinedTable || state == undefinedColumn:
		return "the database lacks required tables or columns"
	case strings.HasPrefix(state, "57"):
		return "the database is stopping or starting"
	case state != "":
		return "the database answers with an error (SQLSTATE " + state + ")"
	case errors.Is(err, context.DeadlineExceeded):
		return "the database does not answer in time"
	}
	return "the database cannot be reached"
}

// IsPermanent reports whether only a change of the settings or the server fixes a failure: a wrong password, a
// missing database or right, a certificate that cannot be verified, a transaction pooler.
func IsPermanent(err error) bool {
	state := stateOf(err)
	if strings.HasPrefix(state, "28") || state == noSuchDatabase || state == insufficientPrivilege {
		return true
	}
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.Is(err, errPooler) || isPoolerState(state) ||
		errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
}
