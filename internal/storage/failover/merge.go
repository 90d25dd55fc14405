package failover

import (
	"slices"
	"time"

	"berth/internal/session"
	"berth/internal/storage/record"
)

// groups are merged independently. The revision is incremented, and the later activity is kept.
var groups = []record.Group{record.GroupToken, record.GroupState, record.GroupExpiry, record.GroupOwner, record.GroupMetadata}

// merge merges a session that was changed here while the primary was unavailable: base is the common ancestor, mine the local
// version, now that of the primary. A group that was changed on one side only is taken from there. If both sides have changed
// it, the primary's change is kept and mine is named in lost, with two exceptions: of two tokens the later one is kept, and the
// latest user request is kept over an automatic change of the other side. A deletion on either side is kept. The revision is a
// new one.
func merge(base, mine, now *session.Session) (next *session.Session, lost []string) {
	switch {
	case mine == nil && (now == nil || base == nil || sameLife(base, now)):
		return nil, nil
	case mine == nil:
		return now, []string{"deletion"} // of an earlier session with the same ID
	case now == nil && base != nil && sameLife(base, mine):
		return nil, []string{"all"} // it was deleted on the primary
	case now == nil:
		return mine, nil
	case base == nil || !sameLife(base, now):
		if !sameLife(mine, now) {
			return now, []string{"all"} // two sessions with the same ID
		}
		// It was created here, and exists on the primary. The side with the higher revision has changed it.
		if base = mine; mine.Revision >= now.Revision {
			base = now
		}
	case !sameLife(base, mine) || mine.Revision <= base.Revision:
		return mine, nil // deleted and recreated
	}
	return combine(base, mine, now)
}

// sameLife reports whether both are the same session, and not two successive ones with the same ID.
func sameLife(a, b *session.Session) bool { return a.CreatedAt.Equal(b.CreatedAt) }

func combine(base, mine, now *session.Session) (next *session.Session, lost []string) {
	out, changed := now.Clone(), false
	here, there, apart := record.Changed(mine, base), record.Changed(now, base), record.Changed(mine, now)
	for _, g := range groups {
		switch {
		case here&g == 0 || apart&g == 0:
		case there&g == 0, g == record.GroupToken && mine.Token.RotatedAt.After(now.Token.RotatedAt),
			g == record.GroupState && requestedSince(*mine, *base).After(requestedSince(*now, *base)):
			record.Take(&out, mine, g)
			changed = true
		default:
			lost = append(lost, g.String())
		}
	}
	if mine.LastAccessed.After(out.LastAccessed) {
		out.LastAccessed = mine.LastAccessed
	}
	if out.Revision = max(mine.Revision, now.Revision); changed {
		out.Revision = max(mine.Revision, now.Revision+1)
	}
	return &out, lost
}

// same reports whether two versions are equal except for activity.
func same(a, b *session.Session) bool { return record.Changed(a, b)&^record.GroupActivity == 0 }

// requestedSince returns when the last requested operation took effect on s that is not in the timeline of base, an earlier
// version of it. Automatic operations and new tokens do not count. Zero: there is none.
func requestedSince(s, base session.Session) time.Time {
	var last session.Event
	if n := len(base.Timeline); n > 0 {
		last = base.Timeline[n-1]
	}
	for _, m := range slices.Backward(s.EventsSince(last)) {
		if m.By != session.ActorBerth && m.Type != session.EventRotated {
			return m.At
		}
	}
	return time.Time{}
}
