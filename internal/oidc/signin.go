package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"berth/internal/session"
)

// Errors of the sign-in, all CodeUnauthorized: the person can begin again.
var (
	errNoFlow = session.Errorf(session.CodeUnauthorized,
		"this sign-in was not begun in this browser, is older than 10 minutes or was completed before; sign in again")
	errRefused = session.Errorf(session.CodeUnauthorized, "the identity provider has not confirmed who you are; sign in again")
)

// errNoSignIn is for a Client that verifies tokens only.
var errNoSignIn = session.Errorf(session.CodeNotFound, "people cannot sign in here")

// maxParameter is the longest code, state and the like that is read.
const maxParameter = 4096

// Begin sends a browser to the provider, to come back to [CallbackPath]. returnTo is what [Client.Finish] returns; see
// [CheckReturnTo]. An error is a failure of which nothing was written: CodeInvalid, CodeIdentityUnavailable.
func (c *Client) Begin(w http.ResponseWriter, r *http.Request, returnTo string) error {
	if !c.CanSignIn() {
		return errNoSignIn
	}
	if err := CheckReturnTo(returnTo); err != nil {
		return err
	}
	p, err := c.discover(r.Context())
	if err != nil {
		return err
	}
	dropFlows(w, r)
	f := c.newFlow(returnTo)
	http.SetCookie(w, c.cookie(f))
	keepPrivate(w)
	to := c.oauth(p).AuthCodeURL(f.State, gooidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier))
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// Finish completes the sign-in at the callback: it returns who has signed in, and the returnTo of [Client.Begin]. It writes
// headers only: the flow's cookie is removed, also where it fails. Errors are failures of which the message may be shown as
// plain text: CodeUnauthorized, CodeIdentityUnavailable, and CodeInternal where the provider does not accept Berth itself.
func (c *Client) Finish(w http.ResponseWriter, r *http.Request) (Identity, string, error) {
	if !c.CanSignIn() {
		return Identity{}, "", errNoSignIn
	}
	keepPrivate(w)
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Identity{}, "", errNoFlow
	}
	for _, name := range []string{"state", "code", "error", "iss"} {
		if values := query[name]; len(values) > 1 || len(query.Get(name)) > maxParameter {
			return Identity{}, "", errNoFlow
		}
	}
	f, ok := c.flowOf(w, r, query.Get("state"))
	if !ok {
		return Identity{}, "", errNoFlow
	}
	p, err := c.discover(r.Context())
	if err != nil {
		return Identity{}, "", err
	}
	// A provider that names itself must be the one that the flow was begun at: RFC 9207.
	if _, named := query["iss"]; (named || p.sendsIss) && query.Get("iss") != c.opts.Issuer {
		return Identity{}, "", errRefused.Because(fmt.Errorf("the callback names the issuer %.200q", query.Get("iss")))
	}
	if query.Has("error") {
		return Identity{}, "", refusal(query)
	}
	id, err := c.redeem(r.Context(), p, f, query.Get("code"))
	if err != nil {
		return Identity{}, "", err
	}
	return id, f.ReturnTo, nil
}

// redeem exchanges the code for an ID token.
func (c *Client) redeem(ctx context.Context, p *provider, f flow, code string) (Identity, error) {
	if code == "" {
		return Identity{}, errRefused.Because(errors.New("the callback has no code"))
	}
	token, err := c.oauth(p).Exchange(gooidc.ClientContext(ctx, c.http), code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return Identity{}, exchangeError(err)
	}
	raw, _ := token.Extra("id_token").(string)
	if !IsJWT(raw) {
		return Identity{}, errRefused.Because(errors.New("the provider has answered without an ID token"))
	}
	found, err := c.verify(ctx, session.Secret(raw), c.opts.ClientID)
	if err == nil {
		err = c.checkIDToken(found, f.Nonce)
	}
	if err != nil {
		return Identity{}, signInError(err)
	}
	if c.lacks(found) && p.UserInfoEndpoint() != "" {
		if found, err = c.addUserInfo(ctx, p, token, found); err != nil {
			return Identity{}, signInError(err)
		}
	}
	id, err := c.identify(found)
	if err != nil {
		return Identity{}, signInError(err)
	}
	return id, nil
}

// checkIDToken is what concerns an ID token besides what concerns every token: OpenID Connect Core, section 3.1.3.7.
func (c *Client) checkIDToken(found claims, nonce string) error {
	if !same(found.text("nonce"), nonce) {
		return invalid("its nonce is of another sign-in")
	}
	party, given := found["azp"]
	if all, several := found["aud"].([]any); given && party != c.opts.ClientID || !given && several && len(all) > 1 {
		return invalid("it was issued to another client")
	}
	return nil
}

// lacks reports whether a claim that is used is not in the ID token. Many providers have it in the answer about the user only.
func (c *Client) lacks(found claims) bool {
	return found.find(c.opts.OwnerClaim) == nil || c.opts.RoleClaim != "" && found.find(c.opts.RoleClaim) == nil ||
		c.opts.OwnerClaim == "email" && found["email_verified"] == nil
}

// addUserInfo asks the provider for the claims about the user that the ID token does not have.
func (c *Client) addUserInfo(ctx context.Context, p *provider, token *oauth2.Token, found claims) (claims, error) {
	info, err := p.UserInfo(gooidc.ClientContext(ctx, c.http), oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, unavailable.Because(describe(err))
	}
	var more claims
	if err := info.Claims(&more); err != nil {
		return nil, invalid("the answer about the user cannot be read")
	}
	if subject := more.text("sub"); subject == "" || subject != found.text("sub") {
		return nil, invalid("the answer about the user is about another one")
	}
	return found.with(more), nil
}

func (c *Client) oauth(p *provider) *oauth2.Config {
	s := c.opts.SignIn
	return &oauth2.Config{
		ClientID: c.opts.ClientID, ClientSecret: s.ClientSecret.Reveal(),
		Endpoint: p.endpoint, RedirectURL: s.RedirectURL, Scopes: s.Scopes,
	}
}

// refusal is the error that the provider has sent with the browser.
func refusal(query url.Values) error {
	text := plain(query.Get("error"))
	if more := plain(query.Get("error_description")); more != "" {
		text += ": " + more
	}
	return session.Errorf(session.CodeUnauthorized, "the identity provider refuses the sign-in (%s); sign in again, or ask its operator", text)
}

// exchangeError is why the provider gives no token.
func exchangeError(err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case ok && answer.ErrorCode == "invalid_grant":
		return errRefused.Because(describe(err))
	case ok && answer.Response != nil && answer.Response.StatusCode < 500:
		return session.Errorf(session.CodeInternal,
			"the identity provider does not accept this server; its operator has to correct OIDC_CLIENT_ID and the secret").Because(describe(err))
	default:
		return unavailable.Because(describe(err))
	}
}

// signInError is the failure of an ID token that is not accepted.
func signInError(err error) error {
	if session.CodeOf(err) == session.CodeIdentityUnavailable {
		return err
	}
	return errRefused.Because(err)
}

// plain is text of the provider as it may be shown: short, on one line, without what is invisible.
func plain(text string) string {
	const longest = 200
	var b strings.Builder
	for _, r := range text {
		if b.Len() >= longest {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// keepPrivate keeps an answer out of caches, and the address of this request, which has the code, from other servers.
func keepPrivate(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
}

// SignOutURL is where a browser signs out at the provider too, by RP-Initiated Logout 1.0. It names no address to return to, which
// would have to be registered there. It is empty if the provider has no such page.
func (c *Client) SignOutURL(ctx context.Context) (string, error) {
	p, err := c.discover(ctx)
	if err != nil || p.endSession == "" {
		return "", err
	}
	u, err := url.Parse(p.endSession)
	if err != nil {
		return "", err
	}
	query := u.Query()
	query.Set("client_id", c.opts.ClientID)
	u.RawQuery = query.Encode()
	return u.String(), nil
}
