// Package postgres is the session store for several processes: PostgreSQL, with change notifications and leases of the
// processes.
//
// It knows SQL, connections and schema migrations. It does not know the meaning of sessions, the fallback for an unavailable
// database (package failover), and the source of settings.
package postgres

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// Options are the settings of the connection and of this process.
type Options struct {
	URL      session.Secret // like postgres://user@host:5432/name; empty: the fields below
	Host     string
	Port     int
	User     string
	Password session.Secret // also for a URL that has none
	Database string

	SSLMode, SSLRootCert, SSLCert, SSLKey string // as libpq names them; the last three are paths

	MinConnections      int           // kept open; default: 0
	MaxConnections      int           // default: pgxpool's
	MaxQueries          int           // a connection is retired after so many; 0: never
	MaxInactiveLifetime time.Duration // an idle connection is closed after that; default: pgxpool's
	Timeout             time.Duration // of one call; default: 5 s

	Process string // identifies this start of this process; see [ProcessName]
	// Directory identifies the state directory of this process, and differs for every copy of it; empty: not known.
	Directory string
	Address   string // where it can be reached, for operators
	Version   string // its version, for operators
	Logger    *slog.Logger
}

const (
	defaultTimeout = 5 * time.Second
	// retryAfter is the delay before a retry for callers when the database is unavailable.
	retryAfter = 5 * time.Second
)

// Store keeps sessions in PostgreSQL. It is safe for concurrent use.
type Store struct {
	opts  Options
	pool  *pgxpool.Pool
	peers *Peers

	listening atomic.Pointer[string] // why notifications do not arrive; nil: they do
	pinned    atomic.Pointer[Pin]    // nil: every database is accepted

	tokensChanged chan struct{} // see PlatformTokensChanged
}

var (
	_ session.Store  = (*Store)(nil)
	_ lifecycle.Feed = (*Store)(nil)
)

// Open checks the settings. It does not connect: the first call does. Invalid settings are CodeInvalid errors.
func Open(opts Options) (*Store, error) {
	opts.Timeout = cmp.Or(opts.Timeout, defaultTimeout)
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	cfg, err := opts.poolConfig()
	if err != nil {
		return nil, session.Errorf(session.CodeInvalid, "the settings of the database: %s", err)
	}
	s := &Store{opts: opts, tokensChanged: make(chan struct{}, 1)}
	s.peers = &Peers{store: s}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if err := s.checkPinned(ctx, conn); err != nil {
			return err
		}
		return s.peers.checkRenewals(ctx, conn)
	}
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), cfg); err != nil {
		return nil, session.Errorf(session.CodeInvalid, "the settings of the database: %s", err)
	}
	return s, nil
}

// poolConfig is the configuration of the pool. Its errors contain no password: pgx redacts it.
func (o Options) poolConfig() (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(cmp.Or(o.URL.Reveal(), o.keywords()))
	if err != nil {
		return nil, err
	}
	conn := cfg.ConnConfig
	if o.URL == "" || conn.Password == "" {
		conn.Password = o.Password.Reveal()
	}
	if _, named := conn.RuntimeParams["application_name"]; !named {
		conn.RuntimeParams["application_name"] = "berth"
	}
	conn.ConnectTimeout = o.Timeout
	conn.DialFunc = (&net.Dialer{Timeout: o.Timeout, KeepAlive: 15 * time.Second}).DialContext
	if o.MaxConnections > 0 {
		cfg.MaxConns = int32(min(o.MaxConnections, 10_000))
	}
	cfg.MinConns = min(int32(max(o.MinConnections, 0)), cfg.MaxConns)
	if o.MaxInactiveLifetime > 0 {
		cfg.MaxConnIdleTime = o.MaxInactiveLifetime
	}
	cfg.HealthCheckPeriod = 5 * time.Second
	if o.MaxQueries > 0 {
		retire(cfg, o.MaxQueries)
	}
	return cfg, nil
}

// keywords is the settings as a libpq connection string, without the password.
func (o Options) keywords() string {
	text := ""
	for _, kv := range [][2]string{
		{"host", o.Host},
		{"port", strconv.Itoa(cmp.Or(o.Port, 5432))},
		{"user", o.User},
		{"dbname", o.Database},
		{"sslmode", o.SSLMode},
		{"sslrootcert", o.SSLRootCert},
		{"sslcert", o.SSLCert},
		{"sslkey", o.SSLKey},
	} {
		if kv[1] != "" {
			text += kv[0] + "=" + quote(kv[1]) + " "
		}
	}
	return text
}

// quote quotes a value of a libpq connection string.
func quote(value string) string {
	out := []byte{'\''}
	for _, c := range []byte(value) {
		if c == '\'' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(append(out, '\''))
}

// Close closes every connection, after waiting for calls in progress.
func (s *Store) Close() { s.pool.Close() }

// PoolStats are the connections of this process.
type PoolStats struct{ Total, Idle, Acquired, Max int }

// Pool counts the connections.
func (s *Store) Pool() PoolStats {
	st := s.pool.Stat()
	return PoolStats{Total: int(st.TotalConns()), Idle: int(st.IdleConns()), Acquired: int(st.AcquiredConns()), Max: int(st.MaxConns())}
}

// Ping fails when the database cannot be reached, is read-only, or is not the pinned one: behind a pooler a connection may be
// switched to another database.
func (s *Store) Ping(ctx context.Context) error {
	return s.do(ctx, func(ctx context.Context) error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		var readOnly bool
		err = conn.QueryRow(ctx, `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'`).Scan(&readOnly)
		if err != nil {
			return err
		}
		if readOnly {
			return session.Errorf(session.CodeStoreUnavailable, "the database is read-only").After(retryAfter)
		}
		return s.checkPinned(ctx, conn.Conn())
	})
}

// Stats are figures for operators.
type Stats struct {
	Size          string // of the database, formatted
	SchemaVersion int64
}

// Stats queries them.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	err := s.do(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `
			SELECT pg_size_pretty(pg_database_size(current_database())),
			       (SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied)`).Scan(&st.Size, &st.SchemaVersion)
	})
	return st, err
}

// retire makes the pool close a connection after the maximum number of queries.
func retire(cfg *pgxpool.Config, most int) {
	cfg.ConnConfig.Tracer = counter{}
	cfg.AfterRelease = func(c *pgx.Conn) bool { return queriesOf(c) < most }
}

// counter counts the queries of a connection, on the connection. One goroutine uses a connection at a time.
type counter struct{}

const countKey = "berth.queries"

func queriesOf(c *pgx.Conn) int {
	n, _ := c.PgConn().CustomData()[countKey].(int)
	return n
}

func (counter) TraceQueryStart(ctx context.Context, c *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.PgConn().CustomData()[countKey] = queriesOf(c) + 1
	return ctx
}

func (counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (counter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (counter) TraceBatchQuery(_ context.Context, c *pgx.Conn, _ pgx.TraceBatchQueryData) {
	c.PgConn().CustomData()[countKey] = queriesOf(c) + 1
}

func (counter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
