package postgres

import (
	"context"
	"embed"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// migrations only add: the previous version must keep working while a newer one starts.
//
//go:embed migrations/*.sql
var migrations embed.FS

const (
	versionTable = "berth_migrations"
	// migrationLock is the advisory lock for changes of the schema: an otherwise unused number.
	migrationLock = 0x62657274_00000002
)

// Prepare migrates the schema. Concurrent processes do it once. The schema of a newer Berth is not changed.
func (s *Store) Prepare(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return explain(ctx, err)
	}
	if err := s.checkPooler(ctx); err != nil {
		return err
	}
	if err := s.Ping(ctx); err != nil { // has the most specific error
		return err
	}
	unlock, err := s.lockMigrations(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	defer unlock()
	db := stdlib.OpenDBFromPool(s.pool)
	defer db.Close() //nolint:errcheck // the pool is closed separately
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(s.opts.Logger))
	if err != nil {
		return explain(ctx, err)
	}
	done, err := provider.Up(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	for _, d := range done {
		s.opts.Logger.InfoContext(ctx, "database schema changed", "migration", d.Source.Path, "version", d.Source.Version)
	}
	return nil
}

// lockMigrations waits for the lock for changes of the schema. The lock is one of a transaction, on a separate connection: that
// of a session would persist in a pooler.
func (s *Store) lockMigrations(ctx context.Context) (unlock func(), err error) {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return nil, err
	}
	tx, err := conn.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock))
	}
	if err != nil {
		closeSoon(ctx, conn)
		return nil, err
	}
	return func() { closeSoon(ctx, conn) }, nil // which ends the transaction
}
