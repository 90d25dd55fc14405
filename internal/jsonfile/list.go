package jsonfile

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/internal/session"
)

// place is where a session stands in every list.
type place struct {
	created int64 // microseconds since 1970
	id      session.ID
}

func placeOf(s session.Session) place { return place{s.CreatedAt.UnixMicro(), s.ID} }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.created, q.created), cmp.Compare(p.id, q.id))
}

// cursor writes a place as Page.Next.
func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.created, 10) + " " + string(p.id)))
}

func parseCursor(text string) (place, error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	created, id, ok := strings.Cut(string(plain), " ")
	micros, errNumber := strconv.ParseInt(created, 10, 64)
	if err != nil || errNumber != nil || !ok {
		return place{}, session.Errorf(session.CodeInvalid, "this is not the end of a page; begin again from the first page")
	}
	return place{micros, session.ID(id)}, nil
}

// List returns one page. A cursor that no page gave is a CodeInvalid error. Cursors name a place and not a session:
// they outlive the session that stood there.
func (s *Store) List(ctx context.Context, q session.Query) (session.Page, error) {
	if err := ended(ctx); err != nil {
		return session.Page{}, err
	}
	after := place{}
	if q.After != "" {
		var err error
		if after, err = parseCursor(q.After); err != nil {
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
		if matches(e.session, q) && (q.After == "" || placeOf(e.session).compare(after) > 0) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return placeOf(a.session).compare(placeOf(b.session)) })

	var page session.Page
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
		page.Next = placeOf(found[q.Limit-1].session).cursor()
	}
	for _, e := range found {
		page.Sessions = append(page.Sessions, e.at(s.touched[e.session.ID]))
	}
	return page, nil
}

func matches(s session.Session, q session.Query) bool {
	return (q.Owner == "" || s.Owner == q.Owner) && (len(q.Statuses) == 0 || slices.Contains(q.Statuses, s.Status))
}

// at returns a copy of the entry's session that shares nothing with it, with activity up to when.
func (e *entry) at(when time.Time) session.Session {
	s := e.session.Clone()
	for name, value := range s.Metadata {
		s.Metadata[name] = copyJSON(value)
	}
	s.LastAccessed = later(s.LastAccessed, when)
	return s
}

func copyJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(v))
		for name, member := range v {
			copied[name] = copyJSON(member)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i, element := range v {
			copied[i] = copyJSON(element)
		}
		return copied
	default: // the rest of JSON cannot be changed in place
		return v
	}
}
