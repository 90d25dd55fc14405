package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// SignIns records the sign-ins of browsers and devices to sessions. [lifecycle.Manager] implements it.
type SignIns interface {
	// NewPairing records a pairing code, and sets until when it is valid.
	NewPairing(ctx context.Context, id session.ID, code session.Link) error
	// ConfirmDevice ends the previous token of a device that uses the one with this digest. It returns a CodeUnauthorized error if
	// the device has no such token.
	ConfirmDevice(ctx context.Context, id session.ID, device, digest string) error
	// Redeem uses up the link or the pairing code with this digest, for a browser with this binding, which may be empty. It returns a
	// CodeUnauthorized error if the session has none for it.
	Redeem(ctx context.Context, id session.ID, code, binding string, in session.SignIn) error
	// SignIn records a browser whose user has shown the token with this digest.
	SignIn(ctx context.Context, id session.ID, token string, in session.SignIn) error
	// SignOut ends the sign-in with this ID.
	SignOut(ctx context.Context, id session.ID, signIn string) error
}

const (
	maxForm = 4 << 10 // bytes of a form; a token or a code and a path
	// maxReturn bounds the path that a browser returns to after it has signed in.
	maxReturn = 2 << 10
	// mostCleared bounds the cookies of ours that one response clears.
	mostCleared = 8
)

var (
	errNotOwnPage = session.Errorf(session.CodeNotFound, "there is no such page of Berth here")
	errForm       = session.Errorf(session.CodeMalformed, "this is not the form of the sign-in page; open that page and try again")
	errInsecure   = session.Errorf(session.CodeForbidden, "a browser signs in by TLS only: at this address anybody in between could "+
		"read along. Open the session's https address, or on Berth's own machine the one below localhost. Behind a proxy that ends "+
		"TLS, the operator names it in TRUSTED_PROXIES")
	errSignedOut = session.Errorf(session.CodeUnauthorized, "this browser's sign-in has ended; sign in again")
)

// wrongToken is shown to a person who has typed a token.
const wrongToken = "This is not the session's token, or it has expired or was replaced."

// isOwnPage reports whether the request is for one of Berth's pages on a session's origin.
func (p *Proxy) isOwnPage(c *call) bool {
	path := c.request.Place.Path
	return c.request.Place.IsOwnOrigin() && (p.signIns != nil && strings.HasPrefix(path, origin.Pages) || path == origin.Progress)
}

// serveOwnPage answers a request under [origin.Pages]. The answer says nothing about whether there is such a session.
func (p *Proxy) serveOwnPage(c *call) error {
	h := c.w.Header()
	h.Set("Referrer-Policy", referrerPolicy)
	h.Set("Cache-Control", "no-store")
	path, method := c.request.Place.Path, c.request.Method
	reads := method == http.MethodGet || method == http.MethodHead
	switch {
	case path == origin.Progress && reads:
		return p.tellProgress(c)
	case strings.HasPrefix(path, origin.Links) && reads:
		return showPage(c, http.StatusOK, linkPage, pageData{Code: strings.TrimPrefix(path, origin.Links)})
	case path == origin.SignIn && reads:
		return p.showSignIn(c, http.StatusOK, pageData{})
	case path == origin.Account && reads && p.openURL != "":
		return p.beginAccount(c)
	case path == origin.SignOut && reads:
		return showPage(c, http.StatusOK, signOutPage, pageData{})
	case (path == origin.SignIn || path == origin.SignOut) && method == http.MethodPost:
		err := p.submitted(c, path == origin.SignOut)
		if f, ok := errors.AsType[*session.Failure](err); ok && c.request.AcceptsHTML() {
			p.logFailure(c, f.Code, err)
			return p.showFailure(c, f)
		}
		return err
	}
	return errNotOwnPage
}

// submitted carries out a form of Berth's pages. Only these pages can send it: a browser names the origin of a form.
func (p *Proxy) submitted(c *call, out bool) error {
	if !c.request.IsSecure() {
		return errInsecure
	}
	if !c.request.IsFromOwnPage() {
		return policy.ErrCrossOrigin
	}
	if out {
		return p.signOut(c)
	}
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.in.Body, maxForm))
	if err != nil {
		return errForm.Because(err)
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return errForm.Because(err)
	}
	to, begun := form.Get("to"), p.begunBy(c)
	shown := shown{
		link: session.Secret(form.Get("code")), pairing: session.Secret(form.Get("pairing")), token: session.Secret(form.Get("token")),
		binding: begun.binding,
	}
	if err := p.signIn(c, shown); err != nil {
		if shown.token != "" && session.CodeOf(err) == session.CodeUnauthorized && c.request.AcceptsHTML() {
			p.logFailure(c, session.CodeUnauthorized, err)
			return p.showSignIn(c, http.StatusUnauthorized, pageData{To: to, Problem: wrongToken})
		}
		return err
	}
	if begun.binding != "" {
		forgetBegun(c)
		if shown.link != "" {
			to = begun.to
		}
	}
	seeOther(c, returnTo(to))
	return nil
}

// shown is what a browser signs in with: a code or the session's token.
type shown struct {
	link, pairing, token session.Secret
	binding              string // of a person's sign-in which the browser has begun; may be empty
}

// signIn signs a browser in that shows a code or the session's token, and gives it its cookie.
func (p *Proxy) signIn(c *call, s shown) error {
	ctx, id, token := c.in.Context(), c.request.Place.Session, s.token
	e := p.table.entry(id)
	value, in := p.access.NewSignIn(c.in.UserAgent())
	switch {
	case s.link != "":
		if err := p.redeem(c, s.link, p.access.Keys.CodeDigest(s.link), s.binding, in); err != nil {
			return err
		}
	case s.pairing != "" && p.rules.Devices:
		if err := p.redeem(c, s.pairing, p.access.Keys.PairingDigest(s.pairing), "", in); err != nil {
			return err
		}
	default:
		principal, err := p.access.Admit(ctx, p.ask(c, token), e)
		if err != nil {
			return err
		}
		if principal.Kind != access.SessionToken {
			return p.rejectSecret(c, token) // the previous token must not outlive its grace
		}
		if err := p.access.MayLink(principal, id); err != nil { // each sign-in is a record and a write to the store
			return err
		}
		if err := p.signIns.SignIn(ctx, id, p.access.Keys.Digest(token), in); err != nil {
			return err
		}
	}
	if c.request.Place.ByPort { // whose pages may have stored something there, as another session
		c.w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	}
	c.w.Header().Add("Set-Cookie", (&http.Cookie{
		Name: policy.CookieName(id), Value: value.Reveal(), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(p.signInLife / time.Second),
	}).String()+"; Priority=High") // Chromium drops others first if a page next door stores too many
	return nil
}

// redeem uses up a code for a sign-in.
func (p *Proxy) redeem(c *call, code session.Secret, digest, binding string, in session.SignIn) error {
	ctx, id := c.in.Context(), c.request.Place.Session
	link, known := p.table.entry(id).link(digest)
	if !known && p.access.IsLimited(ctx) {
		return p.rejectSecret(c, code)
	}
	var err error = errSignedOut // with the platform token that has made the link
	if p.access.MayUse(session.SignIn{Token: link.Token}) {
		err = p.signIns.Redeem(ctx, id, digest, binding, in)
	}
	switch session.CodeOf(err) {
	case session.CodeNotFound, session.CodeUnauthorized:
		if limited := p.rejectSecret(c, code); session.CodeOf(limited) == session.CodeTooManyAttempts {
			return limited
		}
		return session.Errorf(session.CodeUnauthorized, "this link was used already, has expired, or is another browser's; sign in again, or ask for a new one")
	default:
		return err
	}
}

// signInAndReload signs in a browser that has the session's token in its address, and has it ask again without.
func (p *Proxy) signInAndReload(c *call, token session.Secret) error {
	if err := p.signIn(c, shown{token: token}); err != nil {
		return err
	}
	c.w.Header().Set("Referrer-Policy", "no-referrer")
	c.w.Header().Set("Cache-Control", "no-store")
	seeOther(c, returnTo(policy.Target{Path: c.request.Target.Path, Query: policy.WithoutToken(c.request.Target.Query)}.String()))
	return nil
}

// rejectSecret counts a secret that is not valid.
func (p *Proxy) rejectSecret(c *call, secret session.Secret) error {
	ask := p.ask(c, "-"+secret) // no token begins so
	_, err := p.access.Admit(c.in.Context(), ask, (*entry)(nil))
	return err
}

// signOut ends the browser's sign-in, and has the browser forget what pages of the session have stored, except cookies: browsers
// would remove those of all sessions of the domain.
func (p *Proxy) signOut(c *call) error {
	if err := p.authenticate(c); err == nil && c.principal.SignIn != "" {
		err := p.signIns.SignOut(c.in.Context(), c.request.Place.Session, c.principal.SignIn)
		if err != nil && session.CodeOf(err) != session.CodeNotFound {
			return err
		}
	}
	c.clearCookies()
	c.w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	seeOther(c, origin.SignIn)
	return nil
}

// clearCookies clears the cookies of ours that the request has, so that a browser with many, old or foreign ones starts afresh.
func (c *call) clearCookies() {
	for _, name := range c.request.OwnCookieNames(mostCleared) {
		c.w.Header().Add("Set-Cookie", name+"=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
	}
}

func seeOther(c *call, to string) {
	c.w.Header().Set("Location", to)
	c.w.WriteHeader(http.StatusSeeOther)
}

// returnTo returns a path of the session's origin that a browser may be sent to, "/" for anything else.
func returnTo(to string) string {
	if len(to) > maxReturn || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, origin.Pages) ||
		strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' }) {
		return "/"
	}
	return to
}

// wantsSignIn reports whether a request without a valid credential is answered with the sign-in page.
func (p *Proxy) wantsSignIn(c *call, err error) bool {
	return p.signIns != nil && session.CodeOf(err) == session.CodeUnauthorized && c.request.Place.IsOwnOrigin() && c.request.IsNavigation()
}

// showSignIn answers with the sign-in page, from which the browser goes on to the path data.To.
func (p *Proxy) showSignIn(c *call, status int, data pageData) error {
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.Header().Set("Referrer-Policy", referrerPolicy)
	if !c.request.IsSecure() {
		return showPage(c, status, failurePage, pageData{Problem: errInsecure.Message})
	}
	if p.openURL != "" {
		data.Account = origin.Account + "?to=" + url.QueryEscape(data.To)
	}
	return showPage(c, status, signInPage, data)
}

func (p *Proxy) showFailure(c *call, f *session.Failure) error {
	data := pageData{Problem: f.Message, Retry: c.request.IsSecure()}
	if f.RetryAfter > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	return showPage(c, statusOf(f), failurePage, data)
}

// link returns the session's link with this digest, as far as it is known in memory.
func (e *entry) link(digest string) (session.Link, bool) {
	if e == nil {
		return session.Link{}, false
	}
	for _, l := range e.route.Links {
		if l.Digest == digest {
			return l, true
		}
	}
	return session.Link{}, false
}
