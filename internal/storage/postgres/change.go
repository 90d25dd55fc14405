package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// capacityLock is the advisory lock for occupying a slot: an otherwise unused number.
const capacityLock = 0x62657274_00000001

// The parameters of the statements are [values], followed by the limit for those with one, and by that of the owner's sessions for
// an insert. A limit of 0 is none.
var (
	occupying  = occupyingSessions()
	belowLimit = fmt.Sprintf("(SELECT count(*) FROM sessions WHERE %s) < $%d", occupying, len(columns)+1)

	insertOne = fmt.Sprintf(`INSERT INTO sessions (%s) VALUES (%s) ON CONFLICT (session_id) DO NOTHING`, selected, placeholders())

	insertLimited = fmt.Sprintf(`INSERT INTO sessions (%s) SELECT %s WHERE ($%[3]d = 0 OR %[4]s)
		AND ($%[5]d = 0 OR (SELECT count(*) FROM sessions WHERE owner = %[6]s) < $%[5]d) ON CONFLICT (session_id) DO NOTHING`,
		selected, placeholders(), len(columns)+1, belowLimit, len(columns)+2, placeholder("owner"))

	update = fmt.Sprintf(`UPDATE sessions SET %s, last_accessed = greatest(last_accessed, %s), revision = revision + 1
		WHERE session_id = %s AND revision = %s`, assignments("last_accessed", "revision"), placeholder("last_accessed"),
		placeholder("session_id"), placeholder("revision"))
	updateOne     = fmt.Sprintf(`%s RETURNING %s`, update, selected)
	updateLimited = fmt.Sprintf(`%s AND (coalesce(%s, false) OR %s) RETURNING %s`, update, occupying, belowLimit, selected)
)

// occupyingSessions is session.Session.Occupies in SQL. The latest index of those sessions has the same condition.
func occupyingSessions() string {
	var statuses, kinds []string
	for _, s := range session.Statuses() {
		if s.Occupies() {
			statuses = append(statuses, "'"+string(s)+"'")
		}
	}
	for _, k := range session.Kinds() {
		if k.BringsUp() {
			kinds = append(kinds, "'"+string(k)+"'")
		}
	}
	return fmt.Sprintf("(status IN (%s) OR operation IN (%s))", strings.Join(statuses, ", "), strings.Join(kinds, ", "))
}

// Create adds a session. An existing ID is reported before the limit, so that a repeated request finds its session.
func (s *Store) Create(ctx context.Context, v session.Session, max session.Quota) (session.Session, error) {
	v.Revision = 1
	args, err := values(v)
	if err != nil {
		return session.Session{}, err
	}
	err = s.do(ctx, func(ctx context.Context) error {
		for {
			added, err := s.insert(ctx, v, args, max)
			if err != nil || added {
				return err
			}
			taken, err := s.capacityLeft(ctx, v.ID, max.Running)
			if err == nil && !taken {
				err = s.ownerCapacityLeft(ctx, v.Owner, max.PerOwner)
			}
			switch {
			case taken:
				return session.AlreadyExists(v.ID)
			case err != nil:
				return err
			} // the conflicting session was deleted meanwhile
		}
	})
	if err != nil {
		return session.Session{}, err
	}
	return record.Normal(v)
}

func (s *Store) insert(ctx context.Context, v session.Session, args []any, max session.Quota) (added bool, err error) {
	if !v.Occupies() {
		max.Running = 0
	}
	if v.Owner == "" {
		max.PerOwner = 0
	}
	if max.Running <= 0 && max.PerOwner <= 0 {
		tag, err := s.pool.Exec(ctx, insertOne, args...)
		return tag.RowsAffected() == 1, err
	}
	err = s.locked(ctx, func(b *pgx.Batch) {
		b.Queue(insertLimited, append(slices.Clone(args), max.Running, max.PerOwner)...).Exec(func(tag pgconn.CommandTag) error {
			added = tag.RowsAffected() == 1
			return nil
		})
	})
	return added, err
}

// locked runs the statements of queue with the lock of the slots, in one round trip and one transaction.
func (s *Store) locked(ctx context.Context, queue func(*pgx.Batch)) error {
	var b pgx.Batch
	b.Queue(`SELECT pg_advisory_xact_lock($1)`, int64(capacityLock))
	queue(&b)
	return s.pool.SendBatch(ctx, &b).Close()
}

// capacityLeft returns a CodeLimit error if there is no free slot for a session, and whether its ID exists.
func (s *Store) capacityLeft(ctx context.Context, id session.ID, max int) (taken bool, err error) {
	var used int
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM sessions WHERE session_id = $1),
		(SELECT count(*) FROM sessions WHERE `+occupying+` AND session_id <> $1)`, string(id)).Scan(&taken, &used)
	if err == nil && max > 0 && used >= max {
		err = record.LimitReached(used, max)
	}
	return taken, err
}

// ownerCapacityLeft returns a CodeOwnerLimit error if an owner has as many sessions as may be.
func (s *Store) ownerCapacityLeft(ctx context.Context, owner string, max int) error {
	if max <= 0 || owner == "" {
		return nil
	}
	var used int
	err := s.pool.QueryRow(ctx, `SELECT count(*) FROM sessions WHERE owner = $1`, owner).Scan(&used)
	if err == nil && used >= max {
		err = record.OwnerLimitReached(used, max)
	}
	return err
}

// Update replaces a session that has this revision.
func (s *Store) Update(ctx context.Context, v session.Session, max int) (session.Session, error) {
	args, err := values(v)
	if err != nil {
		return session.Session{}, err
	}
	var updated session.Session
	err = s.do(ctx, func(ctx context.Context) error {
		for {
			updated, err = s.update(ctx, v, args, max)
			if !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			if err := s.stale(ctx, v.ID, v.Revision); err != nil {
				return err
			}
			if _, err := s.capacityLeft(ctx, v.ID, max); err != nil {
				return err
			} // the conflicting session was deleted meanwhile
		}
	})
	return updated, err
}

func (s *Store) update(ctx context.Context, v session.Session, args []any, max int) (updated session.Session, err error) {
	if max <= 0 || !v.Occupies() {
		rows, _ := s.pool.Query(ctx, updateOne, args...)
		return pgx.CollectExactlyOneRow(rows, scanner())
	}
	var none error // not returned to the batch, which would discard its prepared statements
	err = s.locked(ctx, func(b *pgx.Batch) {
		b.Queue(updateLimited, append(slices.Clone(args), max)...).Query(func(rows pgx.Rows) error {
			updated, none = pgx.CollectExactlyOneRow(rows, scanner())
			return nil
		})
	})
	return updated, errors.Join(err, none)
}

// stale is the error for a missing row of this ID and revision, or nil when there is one.
func (s *Store) stale(ctx context.Context, id session.ID, revision int64) error {
	var now int64
	err := s.pool.QueryRow(ctx, `SELECT revision FROM sessions WHERE session_id = $1`, string(id)).Scan(&now)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return session.NotFound(id)
	case err != nil:
		return err
	case now != revision:
		return session.Stale(id)
	}
	return nil
}

// Delete removes a session that has this revision.
func (s *Store) Delete(ctx context.Context, id session.ID, revision int64) error {
	return s.do(ctx, func(ctx context.Context) error {
		for {
			tag, err := s.pool.Exec(ctx, `DELETE FROM sessions WHERE session_id = $1 AND revision = $2`, string(id), revision)
			if err != nil || tag.RowsAffected() == 1 {
				return err
			}
			if err := s.stale(ctx, id, revision); err != nil {
				return err
			}
		}
	})
}

// Touch moves LastAccessed of all sessions in one statement. Rows are locked in the order of their IDs, so that two
// processes cannot wait for each other.
func (s *Store) Touch(ctx context.Context, at map[session.ID]time.Time) error {
	ids, times := make([]string, 0, len(at)), make([]time.Time, 0, len(at))
	for id, when := range at {
		if when.IsZero() {
			continue
		}
		ids, times = append(ids, string(id)), append(times, record.InstantOf(when))
	}
	return s.do(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `
			WITH active AS (
				SELECT s.session_id, a.at FROM sessions s JOIN unnest($1::text[], $2::timestamptz[]) a (id, at) ON s.session_id = a.id
				WHERE s.last_accessed IS NULL OR s.last_accessed < a.at
				ORDER BY s.session_id FOR UPDATE OF s
			)
			UPDATE sessions s SET last_accessed = a.at FROM active a
			WHERE s.session_id = a.session_id AND (s.last_accessed IS NULL OR s.last_accessed < a.at)`, ids, times)
		return err
	})
}
