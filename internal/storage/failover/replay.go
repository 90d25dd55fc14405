package failover

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// change is one session that differs from the base.
type change struct {
	id   session.ID
	base *session.Session // nil: created here
	mine *session.Session // nil: deleted here
}

// compare returns the changed sessions, and the activity of the unchanged ones.
func compare(base map[session.ID]session.Session, mine []session.Session) (changes []change, touched map[session.ID]time.Time) {
	touched = map[session.ID]time.Time{}
	here := make(map[session.ID]bool, len(mine))
	for _, m := range mine {
		here[m.ID] = true
		b, known := base[m.ID]
		switch {
		case !known:
			changes = append(changes, change{id: m.ID, mine: &m})
		case !same(&b, &m):
			changes = append(changes, change{id: m.ID, base: &b, mine: &m})
		case m.LastAccessed.After(b.LastAccessed):
			touched[m.ID] = m.LastAccessed
		}
	}
	for id, b := range base {
		if !here[id] {
			changes = append(changes, change{id: id, base: &b})
		}
	}
	return changes, touched
}

// key is the same for every attempt of the same change of the same version.
func (c change) key() string {
	return digest(c.id, valuesOf(c.base), valuesOf(c.mine))
}

// valuesOf is the values of a session by column: column names are stable, in contrast to those of fields in Go.
func valuesOf(s *session.Session) map[string]any {
	if s == nil {
		return nil
	}
	all := map[string]any{}
	for _, c := range record.Columns() {
		if value, _ := c.Get(s); value != nil { // stored sessions can be encoded in JSON
			all[c.Name] = value
		}
	}
	return all
}

// birthKey is the same for every version of a session that was created here.
func (c change) birthKey() string {
	return digest("created", c.id, c.mine.CreatedAt)
}

func digest(parts ...any) string {
	text, _ := json.Marshal(parts) // cannot fail for these types
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// replayRounds is the maximum number of rounds of [Store.replayAhead]. Later changes are replayed last.
const replayRounds = 3

// replayAhead replays changes while the local store is active, so that a slow primary does not block calls. Sessions with an
// operation in progress are replayed last: before that other processes must not take the operation over.
func (s *Store) replayAhead(ctx context.Context) error {
	for range replayRounds {
		s.mu.RLock()
		page, err := s.pending.List(ctx, session.Query{})
		changes, _ := compare(s.base, page.Sessions)
		s.mu.RUnlock()
		if err != nil {
			return err
		}
		changes = slices.DeleteFunc(changes, func(c change) bool { return c.mine != nil && c.mine.Operation != nil })
		if len(changes) == 0 {
			return nil
		}
		arrived := 0
		for _, c := range changes {
			if err = s.apply(ctx, c); err != nil {
				err = fmt.Errorf("replay session %s: %w", c.id, err)
				break
			}
			arrived++
		}
		s.mu.Lock()
		s.settle(ctx, changes[:arrived])
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// replay merges all changes into the primary and makes it the active store. Calls are blocked during the last part. After an
// error the local store stays active; changes that were merged already are not merged again.
func (s *Store) replay(ctx context.Context) error {
	if s.opts.Prepare != nil {
		if err := s.opts.Prepare(ctx); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := s.replayAhead(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	page, err := s.pending.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	changes, touched := compare(s.base, page.Sessions)
	for i, c := range changes {
		if err := s.apply(ctx, c); err != nil {
			s.settle(ctx, changes[:i])
			return fmt.Errorf("replay session %s: %w", c.id, err)
		}
	}
	if len(touched) > 0 {
		if err := s.primary.Touch(ctx, touched); err != nil {
			s.settle(ctx, changes)
			return err
		}
	}
	if err := s.reload(ctx); err != nil {
		s.settle(ctx, changes)
		return err
	}
	if err := s.retire(ctx, page.Sessions); err != nil {
		return fmt.Errorf("retire the journal: %w", err)
	}
	if _, err := s.copyKnown(ctx); err != nil {
		s.opts.Logger.WarnContext(ctx, "the copy of the database was not written, retrying", "error", err)
	}
	s.opts.Logger.InfoContext(ctx, "database recovered, changes replayed", "changes", len(changes), "without_it", time.Since(s.since).Round(time.Second),
		"took", time.Since(begun).Round(time.Millisecond))
	s.pending, s.base, s.reason, s.flowed = nil, nil, "", time.Now().UTC()
	select {
	case s.resync <- struct{}{}:
	default:
	}
	return nil
}

// apply merges one change into the primary.
func (s *Store) apply(ctx context.Context, c change) error {
	var lost []string
	decide := func(now *session.Session) (next *session.Session) {
		next, lost = merge(c.base, c.mine, now)
		return next
	}
	err := s.mergeOnce(ctx, c, decide)
	if len(lost) > 0 && err == nil {
		s.opts.Logger.WarnContext(ctx, "conflicting change of another instance was kept", "session_id", c.id, "fields", lost)
	}
	return err
}

func (s *Store) mergeOnce(ctx context.Context, c change, decide func(*session.Session) *session.Session) error {
	if c.base == nil {
		// An interrupted replay may have created this session already, in an earlier version. If it is missing now, it was
		// deleted since.
		first := false
		now, err := s.primary.Merge(ctx, c.birthKey(), c.id, func(now *session.Session) *session.Session {
			first = true
			return decide(now)
		})
		if err != nil || first || now == nil {
			return err
		}
	}
	_, err := s.primary.Merge(ctx, c.key(), c.id, decide)
	return err
}

// settle adds merged changes to the base, so that later changes of these sessions are compared with them. Without it, after a
// crash, a later change may conflict with its own predecessor.
func (s *Store) settle(ctx context.Context, arrived []change) {
	for _, c := range arrived {
		if c.mine == nil {
			delete(s.base, c.id)
		} else {
			s.base[c.id] = *c.mine
		}
	}
	s.edits.Add(1)
	if err := s.write(ctx, s.opts.Copy.Replace, slices.Collect(maps.Values(s.base))); err != nil {
		s.opts.Logger.WarnContext(ctx, "the copy of the database was not written", "error", err)
	}
}
