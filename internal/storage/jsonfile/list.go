package jsonfile

import (
	"context"
	"slices"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// List returns one page. An invalid cursor is a CodeInvalid error. Cursors are positions: they stay valid after the session at
// that position was deleted.
func (s *Store) List(ctx context.Context, q session.Query) (session.Page, error) {
	if err := ended(ctx); err != nil {
		return session.Page{}, err
	}
	after := record.Position{}
	if q.After != "" {
		var err error
		if after, err = record.ParseCursor(q.After); err != nil {
			return session.Page{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return session.Page{}, errClosed()
	}
	var found []*entry
	for _, e := range s.stored.sessions {
		if matches(e.session, q) && (q.After == "" || record.PositionOf(e.session).Compare(after) > 0) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return record.PositionOf(a.session).Compare(record.PositionOf(b.session)) })

	var page session.Page
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
		page.Next = record.PositionOf(found[q.Limit-1].session).Cursor()
	}
	for _, e := range found {
		page.Sessions = append(page.Sessions, e.at(s.touched[e.session.ID]))
	}
	return page, nil
}

func matches(s session.Session, q session.Query) bool {
	return (q.Owner == "" || s.Owner == q.Owner) && (len(q.Statuses) == 0 || slices.Contains(q.Statuses, s.Status)) &&
		(q.TokenAt.IsZero() || s.Token.Valid(q.TokenAt))
}
