package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"berth/internal/origin"
	"berth/internal/session"
)

// begunLife is how long a person may take on the way over the identity provider.
const begunLife = 10 * time.Minute

// begun is a person's sign-in to a session that its browser has begun, and keeps in a cookie. Nothing is kept here, so that nobody
// can make Berth remember many.
type begun struct {
	binding string // a digest; empty: there is none
	to      string // path to go on to, which nobody else learns
}

// begunName is the name of that cookie. It has the host, because ports of one host share their cookies, and not the session, of
// which there may be none. A browser has one for each: where two tabs begin, the last one gets in.
func begunName(host string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(host)))
	return "__Host-berth_begun-" + hex.EncodeToString(sum[:8])
}

// beginAccount sends a browser to Berth's own origin, where its user signs in. Only this browser can use the code that comes back:
// it has the cookie. The answer does not depend on whether there is such a session, and does not tell its ID.
func (p *Proxy) beginAccount(c *call) error {
	if !c.request.IsSecure() {
		return errInsecure
	}
	query, err := url.ParseQuery(c.request.Target.Query)
	if err != nil {
		return errForm.Because(err)
	}
	value, binding := p.access.NewBinding()
	to := base64.RawURLEncoding.EncodeToString([]byte(returnTo(query.Get("to"))))
	setBegun(c, value.Reveal()+"."+to, int(begunLife/time.Second))
	at := c.request.Scheme + "://" + strings.ToLower(c.request.Host) + "/"
	seeOther(c, p.openURL+"?"+url.Values{"at": {at}, "binding": {binding}}.Encode())
	return nil
}

// begunBy returns what a browser has begun.
func (p *Proxy) begunBy(c *call) begun {
	found := c.request.Cookies(begunName(c.request.Host))
	if len(found) != 1 { // a browser has one of this name
		return begun{}
	}
	value, encoded, _ := strings.Cut(found[0].Reveal(), ".")
	to, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || value == "" {
		return begun{}
	}
	return begun{binding: p.access.Keys.BindingDigest(session.Secret(value)), to: string(to)}
}

func forgetBegun(c *call) { setBegun(c, "", -1) }

// setBegun sets the cookie; maxAge is in seconds, and -1 removes it.
func setBegun(c *call, value string, maxAge int) {
	c.w.Header().Add("Set-Cookie", (&http.Cookie{
		Name: begunName(c.request.Host), Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}).String())
}

// SessionAt returns the session whose own origin a browser knows by this scheme, host and port, whether or not there is one; "": there
// can be none.
func (p *Proxy) SessionAt(address *url.URL) session.ID {
	if kind, label := p.origins.Find(address.Host); kind == origin.OfSession {
		return p.table.labelled(label)
	}
	_, port, err := net.SplitHostPort(address.Host)
	if err != nil || p.ports == nil {
		return ""
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return ""
	}
	id, _ := p.ports.At(uint16(number))
	return id
}
