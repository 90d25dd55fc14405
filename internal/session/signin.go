package session

import (
	"crypto/subtle"
	"slices"
	"time"
)

// Bounds of what is kept of one session's sign-ins: more than people have browsers, devices and unused links. The oldest are dropped.
const (
	MaxLinks   = 16 // and as many pairing codes
	MaxSignIns = 32 // of browsers
	MaxDevices = 32
)

// Link admits one browser to a session, once. A pairing code is a link that a device may use too.
type Link struct {
	Digest    string    `json:"digest"` // keyed, of its code
	ExpiresAt time.Time `json:"expires_at"`
	Binding   string    `json:"binding,omitempty"` // keyed digest of what the one browser has that may use it; empty: any browser

	Token string `json:"token,omitempty"` // the ID of the platform token that has made it; empty: another has

	Pairing bool   `json:"pairing,omitempty"`
	Name    string `json:"name,omitempty"`   // of the device that pairs; empty: what it says of itself
	Renews  string `json:"renews,omitempty"` // the ID of a device that gets another token; nobody else may use the code
}

// SignIn is a browser that has signed in to a session, or a device that has paired with it.
type SignIn struct {
	ID        string    `json:"id"`     // names it to operators and users; not secret
	Digest    string    `json:"digest"` // keyed, of its cookie's value or its token
	At        time.Time `json:"at"`
	ExpiresAt time.Time `json:"expires_at"`
	Browser   string    `json:"browser,omitempty"` // what it says it is: up to 100 printable characters

	Token string `json:"token,omitempty"` // the ID of the platform token whose link was used, with which it ends; empty: of none

	Device bool `json:"device,omitempty"`
	// NextDigest is that of a device's new token. The one before is valid until the new one is used, which shows that the device
	// has got it.
	NextDigest    string    `json:"next_digest,omitempty"`
	NextExpiresAt time.Time `json:"next_expires_at,omitzero"`
}

// Ends returns when the last one of the tokens expires.
func (in SignIn) Ends() time.Time {
	if in.NextExpiresAt.After(in.ExpiresAt) {
		return in.NextExpiresAt
	}
	return in.ExpiresAt
}

// Linked returns the session with one more link, without those that have expired, and without the oldest ones of its kind beyond
// [MaxLinks].
func (s Session) Linked(l Link, now time.Time) Session {
	s.Links = latest(append(s.unexpiredLinks(now), l), MaxLinks, func(other Link) bool { return other.Pairing == l.Pairing })
	return s
}

// Redeemed returns the session without the link of this digest, and the link, for a browser with this binding, which may be empty. It is
// false if the session has no such link for it, or it has expired.
func (s Session) Redeemed(digest, binding string, now time.Time) (next Session, used Link, found bool) {
	var left []Link
	for _, l := range s.unexpiredLinks(now) {
		if same(l.Digest, digest) && (l.Binding == "" || same(l.Binding, binding)) {
			used, found = l, true
			continue
		}
		left = append(left, l)
	}
	s.Links = left
	return s, used, found
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
// expired, and without the oldest ones of its kind beyond [MaxSignIns] or [MaxDevices].
func (s Session) SignedIn(in SignIn, now time.Time) Session {
	in.ExpiresAt = s.withToken(in.ExpiresAt)
	most := MaxSignIns
	if in.Device {
		most = MaxDevices
	}
	s.SignIns = latest(append(s.PresentSignIns(now), in), most, func(other SignIn) bool { return other.Device == in.Device })
	return s
}

// Renewed returns the session with a new token for a device, whose present one stays until the new one is used. It is false if there is
// no such device.
func (s Session) Renewed(device, digest string, expires, now time.Time) (Session, bool) {
	s.SignIns = s.PresentSignIns(now)
	for i, in := range s.SignIns {
		if in.ID == device && in.Device {
			s.SignIns[i].NextDigest, s.SignIns[i].NextExpiresAt = digest, s.withToken(expires)
			return s, true
		}
	}
	return s, false
}

// Confirmed returns the session without the previous token of a device that has used its new one. The device is the last one to be dropped
// for others. It is false if this is not a new token of the device.
func (s Session) Confirmed(device, digest string, now time.Time) (Session, bool) {
	s.SignIns = s.PresentSignIns(now)
	i := slices.IndexFunc(s.SignIns, func(in SignIn) bool { return in.ID == device && in.Device })
	if i < 0 {
		return s, false
	}
	in := s.SignIns[i]
	if in.NextDigest != digest || !now.Before(in.NextExpiresAt) {
		return s, in.Digest == digest && now.Before(in.ExpiresAt) // by another request, or not at all
	}
	in.Digest, in.ExpiresAt, in.NextDigest, in.NextExpiresAt = in.NextDigest, in.NextExpiresAt, "", time.Time{}
	s.SignIns = append(slices.Delete(s.SignIns, i, i+1), in)
	return s, true
}

// withToken returns the time, or when the session's token expires, whichever is earlier.
func (s Session) withToken(t time.Time) time.Time {
	if end := s.Token.ExpiresAt; !end.IsZero() && end.Before(t) {
		return end
	}
	return t
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
		if now.Before(in.Ends()) {
			left = append(left, in)
		}
	}
	return left
}

// latest returns a list without the oldest elements of a kind beyond the most that may be kept.
func latest[T any](list []T, most int, ofKind func(T) bool) []T {
	excess := -most
	for _, element := range list {
		if ofKind(element) {
			excess++
		}
	}
	return slices.DeleteFunc(list, func(element T) bool {
		if excess <= 0 || !ofKind(element) {
			return false
		}
		excess--
		return true
	})
}
