package session

import (
	"crypto/subtle"
	"time"
)

// Bounds of what is kept of one session's sign-ins: more than people have browsers and unused links. The oldest are dropped.
const (
	MaxLinks   = 16
	MaxSignIns = 32
)

// Link admits one browser to a session, once.
type Link struct {
	Digest    string    `json:"digest"` // keyed, of its code
	ExpiresAt time.Time `json:"expires_at"`
	Binding   string    `json:"binding,omitempty"` // keyed digest of what the one browser has that may use it; empty: any browser
}

// SignIn is a browser that has signed in to a session.
type SignIn struct {
	ID        string    `json:"id"`     // names it to operators and users; not secret
	Digest    string    `json:"digest"` // keyed, of its cookie's value
	At        time.Time `json:"at"`
	ExpiresAt time.Time `json:"expires_at"`
	Browser   string    `json:"browser,omitempty"` // what it says it is: up to 100 printable characters
}

// Linked returns the session with one more link, without those that have expired, and without the oldest ones beyond [MaxLinks].
func (s Session) Linked(l Link, now time.Time) Session {
	s.Links = append(s.unexpiredLinks(now), l)
	s.Links = s.Links[max(0, len(s.Links)-MaxLinks):]
	return s
}

// Redeemed returns the session without the link of this digest, for a browser with this binding, which may be empty. It is false
// if the session has no such link for it, or it has expired.
func (s Session) Redeemed(digest, binding string, now time.Time) (Session, bool) {
	found := false
	var left []Link
	for _, l := range s.unexpiredLinks(now) {
		if same(l.Digest, digest) && (l.Binding == "" || same(l.Binding, binding)) {
			found = true
			continue
		}
		left = append(left, l)
	}
	s.Links = left
	return s, found
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s Session) unexpiredLinks(now time.Time) (left []Link) {
	for _, l := range s.Links {
		if now.Before(l.ExpiresAt) {
			left = append(left, l)
		}
	}
	return left
}

// SignedIn returns the session with one more sign-in, which ends with the session's token at the latest, without those that have
// expired, and without the oldest ones beyond [MaxSignIns].
func (s Session) SignedIn(in SignIn, now time.Time) Session {
	if end := s.Token.ExpiresAt; !end.IsZero() && end.Before(in.ExpiresAt) {
		in.ExpiresAt = end
	}
	s.SignIns = append(s.PresentSignIns(now), in)
	s.SignIns = s.SignIns[max(0, len(s.SignIns)-MaxSignIns):]
	return s
}

// SignedOut returns the session without the sign-in of this ID. It is false if there is none.
func (s Session) SignedOut(id string, now time.Time) (Session, bool) {
	found := false
	var left []SignIn
	for _, in := range s.PresentSignIns(now) {
		if in.ID == id {
			found = true
			continue
		}
		left = append(left, in)
	}
	s.SignIns = left
	return s, found
}

// PresentSignIns returns those that have not expired.
func (s Session) PresentSignIns(now time.Time) (left []SignIn) {
	for _, in := range s.SignIns {
		if now.Before(in.ExpiresAt) {
			left = append(left, in)
		}
	}
	return left
}
