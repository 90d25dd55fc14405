package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"berth/internal/session"
)

// errPooler is in the chain of every failure caused by a transaction pooler.
var errPooler = errors.New("transaction pooler")

const poolerReason = "a transaction pooler is between Berth and PostgreSQL; connect directly, or set the pooler to session mode"

// echoTimeout bounds the arrival of a notification that a process sends to itself.
const echoTimeout = 2 * time.Second

// checkPooler returns a failure if connections share sessions of PostgreSQL, and the client uses prepared statements, which is
// the default. Without them Berth works, except for notifications; see [Store.Watch].
func (s *Store) checkPooler(ctx context.Context) error {
	var shared bool
	err := s.do(ctx, func(ctx context.Context) error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		// A pooler invents the process ID for its clients.
		pg := conn.Conn().PgConn()
		pid, err := simpleQuery(ctx, pg, "SELECT pg_backend_pid()")
		if err != nil || pid == strconv.FormatUint(uint64(pg.PID()), 10) {
			return err
		}
		shared, err = s.sharesSession(ctx, pg)
		return err
	})
	switch {
	case err != nil || !shared:
		return err
	case s.preparesStatements():
		return session.Errorf(session.CodeStoreUnavailable, poolerReason).Because(errPooler).After(retryAfter)
	}
	s.opts.Logger.WarnContext(ctx, "a transaction pooler is between Berth and PostgreSQL; notifications of changes do not arrive through it")
	return nil
}

func (s *Store) preparesStatements() bool {
	mode := s.pool.Config().ConnConfig.DefaultQueryExecMode
	return mode != pgx.QueryExecModeExec && mode != pgx.QueryExecModeSimpleProtocol
}

// sharesSession reports whether the LISTEN of a connection is lost between two statements. It uses the simple protocol, which
// every pooler supports.
func (s *Store) sharesSession(ctx context.Context, from *pgconn.PgConn) (bool, error) {
	listener, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return false, err
	}
	defer closeSoon(ctx, listener)
	echo := echoChannel()
	if _, err := simpleQuery(ctx, listener.PgConn(), "LISTEN "+echo); err != nil {
		return false, err
	}
	if _, err := simpleQuery(ctx, from, "NOTIFY "+echo); err != nil {
		return false, err
	}
	within, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	_, err = listener.WaitForNotification(within)
	if within.Err() != nil && ctx.Err() == nil {
		return true, nil
	}
	return false, err
}

// echoChannel is the name of a channel without other listeners.
func echoChannel() string { return "berth_echo_" + strings.ToLower(rand.Text()) }

// simpleQuery runs one statement with the simple protocol and returns the first value of its result; "" when there is none.
func simpleQuery(ctx context.Context, conn *pgconn.PgConn, statement string) (string, error) {
	results, err := conn.Exec(ctx, statement).ReadAll()
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

func closeSoon(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), heartbeatTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// isPoolerState reports an error for a missing or duplicate prepared statement, which the client tracks for its connections.
func isPoolerState(state string) bool { return state == noSuchStatement || state == duplicateStatement }
