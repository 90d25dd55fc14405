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

// failOver turns to the local store because a call of the primary has failed. It reports false when the primary answers
// after all: then the failure was the call's own.
func (s *Store) failOver(ctx context.Context, cause error) bool {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	if s.Degraded() {
		return true
	}
	ctx = context.WithoutCancel(ctx)
	if s.ping(ctx) == nil {
		return false
	}
	if err := s.degrade(ctx, cause); err != nil {
		s.opts.Logger.ErrorContext(ctx, "the database cannot be reached, and this process cannot go on without it", "error", err)
		return false
	}
	return true
}

// degrade makes the local store the one that works. What the primary had becomes the base first: without it, nobody could
// tell afterwards what was changed.
func (s *Store) degrade(ctx context.Context, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.copyKnown(ctx)
	if err != nil {
		return err
	}
	pending, err := s.newJournal(ctx, all)
	if err != nil {
		return err
	}
	s.pending, s.base = pending, session.ByID(all)
	s.edits.Add(1)
	s.since, s.reason = time.Now().UTC(), session.MessageOf(cause)
	s.opts.Logger.ErrorContext(ctx, "the database cannot be reached; changes are kept here until it returns", "error", cause, "sessions", len(all))
	return nil
}

// failBack tries to return to the primary.
func (s *Store) failBack(ctx context.Context) {
	s.switchMu.Lock()
	defer s.switchMu.Unlock()
	err := s.ping(ctx)
	if err == nil {
		err = s.flowBack(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	changed := s.reason != session.MessageOf(err)
	s.reason = session.MessageOf(err)
	s.mu.Unlock()
	if changed {
		s.opts.Logger.WarnContext(ctx, "still without the database", "error", err)
	}
}

// change is one session that differs from the base.
type change struct {
	id   session.ID
	base *session.Session // nil: it was not there
	mine *session.Session // nil: it was deleted here
}

// compare lists what was changed, and the activity of what was not.
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

// key is the same for the same change of the same version, whenever it is tried.
func (c change) key() string {
	return digest(c.id, valuesOf(c.base), valuesOf(c.mine))
}

// valuesOf is what a session says, by column: names that stay while those of fields in Go change.
func valuesOf(s *session.Session) map[string]any {
	if s == nil {
		return nil
	}
	all := map[string]any{}
	for _, c := range record.Columns() {
		if value, _ := c.Get(s); value != nil { // stores hold what has a form in JSON
			all[c.Name] = value
		}
	}
	return all
}

// birthKey is the same for every version of a session that was made here.
func (c change) birthKey() string {
	return digest("created", c.id, c.mine.CreatedAt)
}

func digest(parts ...any) string {
	text, _ := json.Marshal(parts) // which always have a form in JSON
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// aheadRounds is how often what was changed is brought ahead. What changes faster than a primary takes it comes last.
const aheadRounds = 3

// bringAhead brings changes to the primary while the local store works, so that a primary that takes its time keeps nobody
// waiting. Sessions on which somebody works come last: until then the others must not think that they may go on with that.
func (s *Store) bringAhead(ctx context.Context) error {
	for range aheadRounds {
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
				err = fmt.Errorf("bring back session %s: %w", c.id, err)
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

// flowBack brings every change to the primary and makes it the store that works. Nobody calls a store during the last part of
// that. An error leaves the local store at work; what has arrived by then does not arrive again.
func (s *Store) flowBack(ctx context.Context) error {
	if s.opts.Prepare != nil {
		if err := s.opts.Prepare(ctx); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := s.bringAhead(ctx); err != nil {
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
			return fmt.Errorf("bring back session %s: %w", c.id, err)
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
		return fmt.Errorf("end the journal: %w", err)
	}
	if _, err := s.copyKnown(ctx); err != nil {
		s.opts.Logger.WarnContext(ctx, "the copy of the database was not written; trying again", "error", err)
	}
	s.opts.Logger.InfoContext(ctx, "back with the database", "changes", len(changes), "without_it", time.Since(s.since).Round(time.Second),
		"took", time.Since(begun).Round(time.Millisecond))
	s.pending, s.base, s.reason, s.flowed = nil, nil, "", time.Now().UTC()
	select {
	case s.again <- struct{}{}:
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
	err := s.applyOnce(ctx, c, decide)
	if len(lost) > 0 && err == nil {
		s.opts.Logger.WarnContext(ctx, "another instance changed the same meanwhile; its change was kept", "session_id", c.id, "fields", lost)
	}
	return err
}

func (s *Store) applyOnce(ctx context.Context, c change, decide func(*session.Session) *session.Session) error {
	if c.base == nil {
		// A flow back that was cut short may have brought this session already, in an earlier version. If it is not there
		// any more, somebody has deleted it since.
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

// settle makes changes that have arrived part of the base, so that what is done to those sessions next is compared with
// them. Without it, which a crash may bring about, such a later change may meet its own forerunner as another's.
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

// reload reads everything that the primary has.
func (s *Store) reload(ctx context.Context) error {
	mark := s.known.mark()
	page, err := s.primary.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	s.known.listed(mark, page.Sessions)
	return nil
}
