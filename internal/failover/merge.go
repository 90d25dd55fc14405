package failover

import (
	"reflect"

	"berth/internal/session"
)

// part is a group of fields that change together, because one act changes them.
type part struct {
	name string
	get  func(*session.Session) any
	set  func(to, from *session.Session)
}

const (
	tokenPart = "token"
	statePart = "state"
)

var parts = []part{
	{
		tokenPart,
		func(s *session.Session) any { return s.Token },
		func(to, from *session.Session) { to.Token = from.Token },
	},
	{
		statePart,
		func(s *session.Session) any {
			return []any{
				s.Status, s.LastError, s.Operation, s.ContainerName, s.ContainerID, s.HostDir, s.Port, s.RestartCount, s.Image, s.Profile, s.Host, s.StopReason, s.Timeline,
				s.ImageSource, s.Upgrade,
			}
		},
		func(to, from *session.Session) {
			to.Status, to.LastError, to.Operation, to.RestartCount = from.Status, from.LastError, from.Operation, from.RestartCount
			to.ContainerName, to.ContainerID, to.HostDir, to.Port = from.ContainerName, from.ContainerID, from.HostDir, from.Port
			to.Image, to.Profile, to.Host = from.Image, from.Profile, from.Host
			to.ImageSource, to.Upgrade = from.ImageSource, from.Upgrade
			to.StopReason, to.Timeline = from.StopReason, from.Timeline
		},
	},
	{
		"expiry",
		func(s *session.Session) any { return s.ExpiresAt },
		func(to, from *session.Session) { to.ExpiresAt = from.ExpiresAt },
	},
	{
		"owner",
		func(s *session.Session) any { return s.Owner },
		func(to, from *session.Session) { to.Owner = from.Owner },
	},
	{
		"metadata",
		func(s *session.Session) any { return s.Metadata },
		func(to, from *session.Session) { to.Metadata = from.Metadata },
	},
}

// merge decides what becomes of a session that was changed here while the primary was away: base is what it was then,
// mine what was made of it here, now what the primary has. What was changed on one side only is taken from there. Where
// both sides have changed the same, the primary's change is kept and named in lost, with two exceptions: of two tokens the
// later one is kept, and what somebody has asked for last is kept whatever Berth did by itself on the other side.
// Whoever deletes has the last word. The revision is one that nobody has seen with another content.
func merge(base, mine, now *session.Session) (next *session.Session, lost []string) {
	switch {
	case mine == nil && (now == nil || base == nil || sameLife(base, now)):
		return nil, nil
	case mine == nil:
		return now, []string{"deletion"} // of a session of the same ID that is no more
	case now == nil && base != nil && sameLife(base, mine):
		return nil, []string{"all"} // somebody else has deleted it
	case now == nil:
		return mine, nil
	case base == nil || !sameLife(base, now):
		if !sameLife(mine, now) {
			return now, []string{"all"} // two sessions of one ID
		}
		// Made here, and known there already. Who has done more to it since has changed it.
		if base = mine; mine.Revision >= now.Revision {
			base = now
		}
	case !sameLife(base, mine) || mine.Revision <= base.Revision:
		return mine, nil // deleted and made again
	}
	return combine(base, mine, now)
}

// sameLife reports whether both are one session, and not two of the same ID one after the other.
func sameLife(a, b *session.Session) bool { return a.CreatedAt.Equal(b.CreatedAt) }

func combine(base, mine, now *session.Session) (next *session.Session, lost []string) {
	out, changed := now.Clone(), false
	for _, p := range parts {
		here, there := !equal(p, mine, base), !equal(p, now, base)
		switch {
		case !here || equal(p, mine, now):
		case !there, p.name == tokenPart && mine.Token.RotatedAt.After(now.Token.RotatedAt),
			p.name == statePart && mine.RequestedSince(*base).After(now.RequestedSince(*base)):
			p.set(&out, mine)
			changed = true
		default:
			lost = append(lost, p.name)
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

func equal(p part, a, b *session.Session) bool { return reflect.DeepEqual(p.get(a), p.get(b)) }

// same reports whether two versions differ in activity at most.
func same(a, b session.Session) bool {
	a.LastAccessed = b.LastAccessed
	return reflect.DeepEqual(a, b)
}
