package httpapi

import (
	"context"
	"log/slog"
	"net/http"

	"berth/internal/access"
	"berth/internal/outcome"
	"berth/internal/session"
)

// Paths of the sign-in of people, on Berth's own origin.
const (
	LoginPath    = "/auth/oidc/login"
	CallbackPath = "/auth/oidc/callback" // registered at the identity provider
	OpenPath     = "/auth/oidc/open"     // signs a person in to a session
	SignOutPath  = "/auth/oidc/sign-out"
)

// SignIn signs people in at an identity provider.
type SignIn interface {
	// Begin sends a browser there, to come back to [CallbackPath]. Until then returnTo, a path of Berth's own origin or nothing, is
	// kept in the browser. Nothing was written if it returns an error.
	Begin(w http.ResponseWriter, r *http.Request, returnTo string) error
	// Finish returns who has come back. It writes headers only. An error is CodeUnauthorized if the person is not known.
	Finish(w http.ResponseWriter, r *http.Request) (p access.Principal, returnTo string, err error)
	// SignOutURL is where a browser signs out there too; empty: nowhere.
	SignOutURL(ctx context.Context) (string, error)
}

// Operations in records.
const (
	opBeginSignIn  = "begin-sign-in"
	opFinishSignIn = "finish-sign-in"
	opOpenSession  = "open-session"
)

// beginSignIn sends a browser to the identity provider. It returns to a path of this origin, or to a session.
func (a *API) beginSignIn(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()["return_to"]
	if len(values) > 1 {
		a.signInFailed(w, r, opBeginSignIn, session.Errorf(session.CodeInvalid, "there is more than one return_to"))
		return
	}
	returnTo := append(values, "")[0]
	if id, err := session.ParseID(returnTo); err == nil {
		a.beginOpening(w, r, opening{session: id})
		return
	}
	if err := a.SignIn.Begin(w, r, returnTo); err != nil {
		a.signInFailed(w, r, opBeginSignIn, err)
	}
}

// finishSignIn is where the provider sends browsers back to. What does not lead to a person counts like a wrong token, since
// each attempt costs a request to the provider.
func (a *API) finishSignIn(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ask := access.Ask{Surface: access.API, Operation: opFinishSignIn}
	if err := a.Access.LimitError(ctx, ask); err != nil {
		a.signInFailed(w, r, opFinishSignIn, err)
		return
	}
	p, returnTo, err := a.SignIn.Finish(w, r)
	if err != nil {
		if session.CodeOf(err) != session.CodeIdentityUnavailable {
			a.Access.Reject(ctx, ask)
		}
		a.signInFailed(w, r, opFinishSignIn, err)
		return
	}
	a.Access.SignedIn(ctx, p, ask)
	value, until := a.Access.NewPersonSignIn(p)
	setPerson(w, value, until, a.Now())
	a.handOn(w, r.WithContext(access.WithPrincipal(ctx, p)), p, returnTo)
}

// handOn sends a person who has signed in to the session or the page that they meant.
func (a *API) handOn(w http.ResponseWriter, r *http.Request, p access.Principal, returnTo string) {
	o, ok := openingOf(returnTo)
	switch {
	case ok:
		a.open(w, r, p, o)
	case returnTo == "" || returnTo == "/":
		plain(w, http.StatusOK, "You have signed in as "+p.Owner+". Open the address of your session.\n")
	default:
		http.Redirect(w, r, returnTo, http.StatusSeeOther) //nolint:gosec // CheckReturnTo has accepted it
	}
}

// signInFailed tells a person why they are not signed in, as plain text: parts of it are the provider's, and anybody's.
func (a *API) signInFailed(w http.ResponseWriter, r *http.Request, operation string, err error) {
	code := session.CodeOf(err)
	level := outcome.Of(code).Level
	if code == session.CodeUnauthorized { // within the limit of its address
		level = slog.LevelInfo
	}
	a.Logger.Log(r.Context(), level, "sign-in failed", "operation", operation, "code", code, "error", err)
	for name, values := range ProblemOf(err).headers {
		w.Header()[name] = values
	}
	plain(w, outcome.Of(code).Status, "That did not work: "+session.MessageOf(err)+".\n")
}
