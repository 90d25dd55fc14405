package storage

import (
	"context"

	"berth/internal/session"
	"berth/internal/storage/failover"
	"berth/internal/storage/jsonfile"
)

// newFailover adds the local fallback to the database.
func (s *Storage) newFailover(ctx context.Context, db *database) (*failover.Store, error) {
	base, err := s.newFile(copyFile)
	if err != nil {
		return nil, err
	}
	pending := s.dir.path(pendingFile)
	f, err := failover.Open(ctx, db.Store, failover.Options{
		Copy: base,
		Pending: func(initial []session.Session) (failover.Local, error) {
			if err := jsonfile.CreateFile(pending, initial); err != nil {
				return nil, err
			}
			return jsonfile.Open(pending, jsonfile.Options{Logger: s.named("jsonfile")})
		},
		HasPending:  func() bool { return jsonfile.Exists(pending) },
		DropPending: func() error { return jsonfile.Remove(pending) },
		Prepare: func(ctx context.Context) error {
			if err := db.Prepare(ctx); err != nil {
				return err
			}
			if err := db.verify(ctx, s.Identity); err != nil {
				return err
			}
			if err := db.pin(ctx, s.Identity.Instance); err != nil {
				return err
			}
			if err := db.moveWaiting(ctx); err != nil {
				return err
			}
			return db.moveUsage(ctx)
		},
		Logger: s.named("failover"),
	})
	if err != nil {
		return nil, err
	}
	s.onClose("failover", f.Close)
	return f, nil
}
