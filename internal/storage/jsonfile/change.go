package jsonfile

import (
	"context"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// Create adds a session. An existing ID is reported before the limit, so that a repeated request finds its session.
func (s *Store) Create(ctx context.Context, v session.Session, max session.Quota) (session.Session, error) {
	if err := v.Metadata.Check(); err != nil {
		return session.Session{}, err
	}
	v.Revision = 1
	fresh, err := seal(v, nil)
	if err != nil {
		return session.Session{}, err
	}
	err = s.submit(ctx, func(d *draft) (effect, error) {
		if _, taken := d.sessions[v.ID]; taken {
			return nothing, session.AlreadyExists(v.ID)
		}
		if err := d.admit(fresh.session, max.Running); err != nil {
			return nothing, err
		}
		if err := d.admitFor(v.Owner, max.PerOwner); err != nil {
			return nothing, err
		}
		d.sessions[v.ID] = fresh
		return grows, nil
	})
	if err != nil {
		return session.Session{}, err
	}
	return fresh.at(time.Time{}), nil
}

// Update replaces a session. Members of its entry that this version does not know are kept.
func (s *Store) Update(ctx context.Context, v session.Session, max int) (session.Session, error) {
	var updated *entry
	err := s.submit(ctx, func(d *draft) (effect, error) {
		old, err := d.find(v.ID, v.Revision)
		if err != nil {
			return nothing, err
		}
		next := v
		next.Revision = old.session.Revision + 1
		if record.Changed(&v, &old.session)&record.GroupMetadata != 0 { // unchanged metadata must not prevent other changes
			if err := v.Metadata.Check(); err != nil {
				return nothing, err
			}
		}
		did := frees
		next.LastAccessed = later(v.LastAccessed, later(old.session.LastAccessed, d.touched[v.ID]))
		if next.Occupies() && !old.session.Occupies() {
			if err := d.admit(next, max); err != nil {
				return nothing, err
			}
			did = grows
		}
		if updated, err = seal(next, old.extra); err != nil {
			return nothing, err
		}
		d.sessions[v.ID] = updated
		return did, nil
	})
	if err != nil {
		return session.Session{}, err
	}
	return updated.at(time.Time{}), nil
}

// Delete removes a session and its activity.
func (s *Store) Delete(ctx context.Context, id session.ID, revision int64) error {
	return s.submit(ctx, func(d *draft) (effect, error) {
		if _, err := d.find(id, revision); err != nil {
			return nothing, err
		}
		delete(d.sessions, id)
		delete(d.touched, id)
		return frees, nil
	})
}

// find returns the entry of a session if it has this revision.
func (d *draft) find(id session.ID, revision int64) (*entry, error) {
	e, ok := d.sessions[id]
	switch {
	case !ok:
		return nil, session.NotFound(id)
	case e.session.Revision != revision:
		return nil, session.Stale(id)
	}
	return e, nil
}

// admit returns a CodeLimit error if there is no free slot for a session.
func (d *draft) admit(s session.Session, max int) error {
	if max <= 0 || !s.Occupies() {
		return nil
	}
	used := 0
	for id, e := range d.sessions {
		if id != s.ID && e.session.Occupies() {
			used++
		}
	}
	if used >= max {
		return record.LimitReached(used, max)
	}
	return nil
}

// admitFor returns a CodeOwnerLimit error if an owner has as many sessions as may be.
func (d *draft) admitFor(owner string, max int) error {
	if max <= 0 || owner == "" {
		return nil
	}
	used := 0
	for _, e := range d.sessions {
		if e.session.Owner == owner {
			used++
		}
	}
	if used >= max {
		return record.OwnerLimitReached(used, max)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
