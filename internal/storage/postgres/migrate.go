package postgres

import (
	"context"
	"embed"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// migrations only ever add: the version before must go on working while a newer one starts.
//
//go:embed migrations/*.sql
var migrations embed.FS

const (
	versionTable = "berth_migrations"
	// migrationLock is the advisory lock of whoever changes the schema: any number that nothing else uses.
	migrationLock = 0x62657274_00000002
)

// Prepare brings the schema up to date. Processes that do so at once do it once. A schema that a newer Berth has made is
// left as it is.
func (s *Store) Prepare(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return explain(ctx, err)
	}
	if err := s.checkPooler(ctx); err != nil {
		return err
	}
	if err := s.Ping(ctx); err != nil { // says best why the database is of no use
		return err
	}
	unlock, err := s.lockMigrations(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	defer unlock()
	db := stdlib.OpenDBFromPool(s.pool)
	defer db.Close() //nolint:errcheck // it is the pool that is closed
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

// lockMigrations waits for its turn to change the schema. The lock is a transaction's, on a connection of its own: a
// session's would stay with a pooler.
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
