package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Setting returns the shared setting of a name; "" if there is none.
func (s *Store) Setting(ctx context.Context, name string) (string, error) {
	var value string
	err := s.do(ctx, func(ctx context.Context) error {
		err := s.pool.QueryRow(ctx, `SELECT value FROM berth_settings WHERE name = $1`, name).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return value, err
}

// SetSetting replaces a shared setting; "" removes it.
func (s *Store) SetSetting(ctx context.Context, name, value string) error {
	return s.do(ctx, func(ctx context.Context) error {
		if value == "" {
			_, err := s.pool.Exec(ctx, `DELETE FROM berth_settings WHERE name = $1`, name)
			return err
		}
		_, err := s.pool.Exec(ctx, `INSERT INTO berth_settings (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
		return err
	})
}

// Keep returns the shared setting of a name, and sets it to value if there is none.
func (s *Store) Keep(ctx context.Context, name, value string) (string, error) {
	var kept string
	err := s.write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO berth_settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, value); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT value FROM berth_settings WHERE name = $1`, name).Scan(&kept)
	})
	return kept, err
}

// Identity identifies this database, and differs for copies by dump and restore. A promoted standby keeps it.
func (s *Store) Identity(ctx context.Context) (string, error) {
	var id string
	err := s.do(ctx, func(ctx context.Context) error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		id, err = identityOf(ctx, conn.Conn())
		return err
	})
	return id, err
}

func identityOf(ctx context.Context, conn *pgx.Conn) (id string, err error) {
	err = conn.QueryRow(ctx, `SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' ||
		(SELECT oid FROM pg_database WHERE datname = current_database())::text`).Scan(&id)
	return id, err
}
