package oidc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const (
	// flowLife is how long a person may take to sign in at the provider.
	flowLife = 10 * time.Minute
	// cookiePrefix is of the cookies of flows. Browsers accept __Host- cookies from this very host only, not from a page of a
	// neighboring one, and send them to no other.
	cookiePrefix = "__Host-berth-oidc-"
	// maxFlows is how many sign-ins one browser may have in progress, in as many tabs.
	maxFlows = 8
	// maxCookie is what browsers store.
	maxCookie = 4096
)

// flow is a sign-in in progress. Its browser keeps it in a cookie, so that nobody can make the server remember many.
type flow struct {
	State    string    `json:"s"` // comes back with the code
	Nonce    string    `json:"n"` // comes back in the ID token
	Verifier string    `json:"v"` // proves to the provider that whoever has the code has begun the flow (PKCE)
	ReturnTo string    `json:"r"`
	Expires  time.Time `json:"e"`
	ClientID string    `json:"c"` // the flow ends where the settings change
	Issuer   string    `json:"i"`
}

func (c *Client) newFlow(returnTo string) flow {
	return flow{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), ReturnTo: returnTo,
		Expires: c.opts.Now().Add(flowLife), ClientID: c.opts.ClientID, Issuer: c.opts.Issuer,
	}
}

// newSeal encrypts and authenticates cookies. The random nonces allow four billion of them for one key.
func newSeal(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, errors.New("the key of the sign-in must have 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// cookieName is the name of the flow's cookie. Each flow has its own, so that several tabs can sign in at once.
func cookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return cookiePrefix + hex.EncodeToString(sum[:8])
}

// cookie holds the flow.
func (c *Client) cookie(f flow) *http.Cookie {
	name := cookieName(f.State)
	text, _ := json.Marshal(f)                          // strings and a time: never fails
	sealed := c.seal.Seal(nil, nil, text, []byte(name)) //nolint:gosec // the AEAD takes no nonce: it makes a random one itself
	return flowCookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(flowLife/time.Second))
}

// flowCookie is a cookie of a flow; maxAge is in seconds, and -1 removes it.
func flowCookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, // the provider's redirect is a navigation from another site
	}
}

// open reads the flow of a cookie; false for one that was not made here, for this state, a moment ago.
func (c *Client) open(name, value, state string) (flow, bool) {
	if len(value) > maxCookie {
		return flow{}, false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(sealed) < c.seal.Overhead() {
		return flow{}, false
	}
	text, err := c.seal.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return flow{}, false
	}
	var f flow
	if err := json.Unmarshal(text, &f); err != nil {
		return flow{}, false
	}
	valid := same(f.State, state) && f.ClientID == c.opts.ClientID && f.Issuer == c.opts.Issuer && c.opts.Now().Before(f.Expires)
	return f, valid
}

// flowOf finds the flow that a callback with this state continues, and removes its cookie, so that it cannot be continued
// twice.
func (c *Client) flowOf(w http.ResponseWriter, r *http.Request, state string) (flow, bool) {
	name := cookieName(state)
	found := r.CookiesNamed(name)
	if len(found) == 0 {
		return flow{}, false
	}
	http.SetCookie(w, flowCookie(name, "", -1))
	if len(found) > 1 {
		return flow{}, false // a browser has one of this name
	}
	return c.open(name, found[0].Value, state)
}

// dropFlows removes all flows of a browser that has too many.
func dropFlows(w http.ResponseWriter, r *http.Request) {
	var names []string
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, cookiePrefix) {
			names = append(names, cookie.Name)
		}
	}
	if len(names) < maxFlows {
		return
	}
	for _, name := range names[:min(len(names), 2*maxFlows)] {
		http.SetCookie(w, flowCookie(name, "", -1))
	}
}

// same compares in constant time.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
