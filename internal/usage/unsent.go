package usage

import (
	"context"
	"maps"
	"slices"
	"sync"

	"berth/internal/session"
)

// Settlement is what the call of a hold used.
type Settlement struct {
	Hold Hold `json:"hold"`
	Used Use  `json:"used"`
}

// Journal keeps settlements that the store does not have yet, for the next start.
type Journal interface {
	// Load returns what was saved last.
	Load() ([]Settlement, error)
	// Save replaces all of it, durably.
	Save(all []Settlement) error
}

// unsent are the settlements that the store has not taken. There are at most as many as calls were in progress when it became
// unavailable, because new calls are refused, and [mostCanceled].
type unsent struct {
	mu       sync.Mutex
	journal  Journal // nil: none
	all      map[string]Settlement
	canceled map[string]Hold // reservations whose answer was lost; not in the journal, because without it they expire
}

const mostCanceled = 1000

func (u *unsent) load(journal Journal) error {
	u.journal, u.all, u.canceled = journal, map[string]Settlement{}, map[string]Hold{}
	if journal == nil {
		return nil
	}
	saved, err := journal.Load()
	for _, s := range saved {
		u.all[s.Hold.ID] = s
	}
	return err
}

func (u *unsent) add(s Settlement) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all[s.Hold.ID] = s
	return u.save()
}

// save writes the journal. The caller holds u.mu.
func (u *unsent) save() error {
	if u.journal == nil {
		return nil
	}
	return u.journal.Save(slices.Collect(maps.Values(u.all)))
}

func (u *unsent) cancel(h Hold) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.canceled) < mostCanceled {
		u.canceled[h.ID] = h
	}
}

// waiting returns the settlements that are to be sent.
func (u *unsent) waiting() []Settlement {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := slices.Collect(maps.Values(u.all))
	for _, h := range u.canceled {
		all = append(all, Settlement{Hold: h})
	}
	return all
}

// sent removes what the store has taken. If the journal cannot be written, it will be sent once more, which changes nothing.
func (u *unsent) sent(ids []string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := len(u.all)
	for _, id := range ids {
		delete(u.all, id)
		delete(u.canceled, id)
	}
	if len(u.all) == before {
		return nil
	}
	return u.save()
}

// flush sends what waits, until the store does not take one.
func (l *Ledger) flush(ctx context.Context) error {
	var done []string
	var failure error
	for _, s := range l.unsent.waiting() {
		if failure = l.store.Settle(ctx, s.Hold, s.Used); isTemporary(failure) {
			break
		} else if failure != nil { // it would block the others
			l.opts.Logger.ErrorContext(ctx, "the store does not accept the usage of a call", "session_id", s.Hold.Session, "error", failure)
		}
		done = append(done, s.Hold.ID)
	}
	if err := l.unsent.sent(done); err != nil {
		l.opts.Logger.WarnContext(ctx, "the journal of usage was not written", "error", err)
	}
	return failure
}

func isTemporary(err error) bool {
	code := session.CodeOf(err)
	return code == session.CodeStoreUnavailable || code == session.CodeCanceled
}
