// Package oidc signs people in at an OpenID provider, and verifies the tokens that it issues for the API.
//
// It knows the protocol: discovery, keys, tokens, claims, and the authorization code flow with its cookie. It refuses to
// know what an identity may do, and how long a browser stays signed in.
package oidc

import (
	"cmp"
	"crypto/cipher"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// CallbackPath is the path of the redirect URL, on the operator's origin.
const CallbackPath = "/auth/oidc/callback"

// Options are the settings of a [Client].
type Options struct {
	Issuer   string // the provider's URL exactly as in its tokens: https, or http on a loopback address
	ClientID string // of Berth at the provider

	// Audience is what tokens of the API must be issued for. Empty: ClientID, and then tokens that were issued to another
	// client are refused.
	Audience string
	// OwnerClaim is the claim whose value becomes the owner. A name with dots that is no claim of its own is a path through
	// nested objects. Default "sub", which providers never reassign; with "email" only verified addresses are accepted.
	OwnerClaim string
	// RoleClaim is a claim with one role or a list of them; its name is a path like OwnerClaim. Empty: nobody is an operator.
	RoleClaim string
	// OperatorRoles are the roles that make an operator; they are compared byte for byte.
	OperatorRoles []string

	// SignIn is for people with browsers. The zero value: only tokens are verified.
	SignIn SignIn

	Roots     *x509.CertPool    // authorities of the provider's certificate; nil: those of this machine
	Transport http.RoundTripper // to the provider; nil: one of its own, with Roots
	Now       func() time.Time  // nil: time.Now
	Logger    *slog.Logger      // of the provider's outages; nil: they are not logged
}

// SignIn are the settings of the sign-in. All but Scopes are required.
type SignIn struct {
	ClientSecret session.Secret
	RedirectURL  string   // public URL that ends in [CallbackPath]: https, or http on a loopback host
	Scopes       []string // in addition to "openid"; nil: "profile" and "email"
	Key          []byte   // 32 bytes: seals the cookies; the same on every instance
}

// Client is what Berth is to its provider. It is safe for concurrent use, and starts no goroutines.
type Client struct {
	opts     Options
	http     *http.Client
	redirect *url.URL    // nil: no sign-in
	seal     cipher.AEAD // of cookies; nil: no sign-in

	provider  atomic.Pointer[provider] // nil: not discovered yet
	discovery *retry
}

// New checks the options. It does not contact the provider, which may be unavailable now; see [Client.Check].
func New(o Options) (*Client, error) {
	o.OwnerClaim = cmp.Or(o.OwnerClaim, "sub")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{opts: o, http: boundedClient(o.Transport, o.Roots), discovery: newRetry("discovery", o.Logger, o.Now)}
	if err := errors.Join(CheckIssuer(o.Issuer), required("client ID", o.ClientID), c.openSignIn()); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) openSignIn() (err error) {
	s := &c.opts.SignIn
	if s.ClientSecret == "" && s.RedirectURL == "" && s.Key == nil {
		return nil
	}
	if s.Scopes == nil {
		s.Scopes = []string{"profile", "email"}
	}
	s.Scopes = append([]string{"openid"}, slices.DeleteFunc(slices.Clone(s.Scopes), func(scope string) bool { return scope == "openid" })...)
	redirect, err := url.Parse(s.RedirectURL)
	if err != nil || !isSafe(redirect) || redirect.Path != CallbackPath || redirect.RawQuery != "" || redirect.Fragment != "" {
		return fmt.Errorf("the redirect URL must be https://HOST%s; http is for loopback hosts only", CallbackPath)
	}
	c.redirect = redirect
	if c.seal, err = newSeal(s.Key); err != nil {
		return err
	}
	return required("client secret", s.ClientSecret.Reveal())
}

func required(what, value string) error {
	if value == "" {
		return fmt.Errorf("the %s is missing", what)
	}
	return nil
}

// CheckIssuer returns an error unless text is a URL that a provider may have: https, or http on a loopback host, without
// user, query and fragment.
func CheckIssuer(text string) error {
	u, err := url.Parse(text)
	if err != nil || !isSafe(u) || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return errors.New("the issuer must be like https://login.example.com; http is for loopback hosts only")
	}
	return nil
}

// isSafe reports whether secrets may be sent to the URL.
func isSafe(u *url.URL) bool {
	if u.Host == "" || u.Opaque != "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// CanSignIn reports whether people can sign in, or only tokens are verified.
func (c *Client) CanSignIn() bool { return c.redirect != nil }

// Issuer is the provider's URL.
func (c *Client) Issuer() string { return c.opts.Issuer }

// RedirectURL is what has to be registered at the provider; empty if people cannot sign in.
func (c *Client) RedirectURL() string { return c.opts.SignIn.RedirectURL }
