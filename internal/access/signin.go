package access

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
	"unicode"

	"berth/internal/session"
)

// Lengths in characters of [A-Za-z0-9], 5.95 bits each.
const (
	codeLength   = 32 // of a link
	cookieLength = 43 // of a cookie's value, and of a device's token
)

// Links and sign-ins that are made with a session's own token, for the same reason as rotations with it are bounded.
const (
	linkBurst = 10
	linkEvery = 10 * time.Second
)

// linker is whose links, pairing codes and sign-ins are counted together: those of a session's token, or of one of its devices, which must
// not use up what its user may make.
type linker struct {
	session session.ID
	device  string // the ID of its sign-in; empty: the session's token
}

// MayLink counts a link, a pairing code or a sign-in that a session's own token or device asks for, and returns a CodeTooManyAttempts
// error if there were too many.
func (a *Authority) MayLink(p Principal, id session.ID) error {
	if p.Kind != SessionToken && p.Kind != Device {
		return nil
	}
	who := linker{session: id}
	if p.Kind == Device {
		who.device = p.SignIn
	}
	if wait := a.links.Take(who); wait > 0 {
		return session.Errorf(session.CodeTooManyAttempts,
			"this token has made too many links, pairing codes and sign-ins; try again later").After(wait)
	}
	return nil
}

// mostCookies bounds the cookies of one name that are looked at: a browser has one, and a page next door may add some.
const mostCookies = 4

// maxBrowser bounds what a browser says of itself, in characters.
const maxBrowser = 100

// NewCode makes the code of a link to sign in with: the code is shown once, the digest is recorded.
func (a *Authority) NewCode() (code session.Secret, digest string) {
	code = NewToken(codeLength)
	return code, a.Keys.CodeDigest(code)
}

// NewSignIn makes a browser's sign-in, without its dates, and the value of its cookie.
func (a *Authority) NewSignIn(userAgent string) (value session.Secret, in session.SignIn) {
	value = NewToken(cookieLength)
	id := make([]byte, 8)
	rand.Read(id) // never fails: crypto/rand
	return value, session.SignIn{ID: "in-" + hex.EncodeToString(id), Digest: a.Keys.cookieDigest(value), Browser: Printable(userAgent)}
}

// Printable returns the beginning of what a browser or a device calls itself, without what does not print.
func Printable(text string) string {
	kept := []rune(strings.ToValidUTF8(text, ""))
	kept = kept[:min(len(kept), maxBrowser)]
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, string(kept))
}

// CodeDigest returns what is stored of a link's code.
func (k Keys) CodeDigest(code session.Secret) string { return k.digest("link", code) }

func (k Keys) cookieDigest(value session.Secret) string { return k.digest("cookie", value) }

// MayUse reports whether a sign-in is valid as far as the platform token goes with whose link it was made.
func (a *Authority) MayUse(in session.SignIn) bool {
	_, valid := a.Tokens.behind(in.Token)
	return valid
}

// signInOf makes the sign-in the principal's, unless the platform token behind it is not valid.
func (a *Authority) signInOf(p *Principal, in session.SignIn) {
	if t, valid := a.Tokens.behind(in.Token); valid {
		p.SignIn, p.token = in.ID, t
		if t != nil {
			p.Until = t.ExpiresAt
		}
	}
}

// AdmitSignIn returns the principal of a request that shows the cookie of one of the session's sign-ins. It is false for any other
// cookie, at a cost that does not depend on the session.
func (a *Authority) AdmitSignIn(ctx context.Context, q Ask, cookies []session.Secret, known []session.SignIn) (Principal, bool) {
	now, p := a.Now(), Principal{Kind: SignedIn, Session: q.Session}
	for _, value := range cookies[:min(len(cookies), mostCookies)] {
		digest := a.Keys.cookieDigest(value)
		for _, in := range known {
			if equalDigest(digest, in.Digest) && !in.Device && now.Before(in.ExpiresAt) {
				a.signInOf(&p, in)
			}
		}
	}
	if p.SignIn == "" || !May(p, q.Verb, q.Session, "") {
		return Principal{}, false
	}
	ClientOf(ctx).admit(p, q.Surface)
	a.Trail.admitted(ctx, p, q.Session, q.Operation, false)
	return p, true
}
