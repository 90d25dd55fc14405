package httpapi

import (
	"io"
	"log/slog"
	"net/http"
	"time"

	"berth/internal/access"
	"berth/internal/outcome"
	"berth/internal/session"
)

const opSignOut = "sign-out"

// signOutPage needs no script and no data. Its policy has no form-action, which browsers apply to the redirect to the provider too.
const signOutPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign out</title>
<h1>Sign out</h1>
<p>Sessions that you have opened in this browser stay open; each has a sign-out of its own.</p>
<form method="post"><button autofocus>Sign out</button></form>
</html>
`

func (a *API) showSignOut(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer a browser would not name the origin of the form
	_, _ = io.WriteString(w, signOutPage)   // the client has closed the connection
}

// signOut ends a person's sign-in in a browser, and sends the browser on to sign out at the provider, if it can.
func (a *API) signOut(w http.ResponseWriter, r *http.Request) {
	if !isFromOwnPage(r) {
		err := session.Errorf(session.CodeForbidden, "a page of another site has asked for this; open %s yourself", SignOutPath)
		a.Logger.Log(r.Context(), outcome.Of(session.CodeForbidden).Level, "sign-out refused", "operation", opSignOut, "error", err)
		plain(w, http.StatusForbidden, "That did not work: "+session.MessageOf(err)+".\n")
		return
	}
	value := personIn(r)
	if p, ok := a.Access.PersonSignedIn(value); ok {
		a.Access.SignedIn(r.Context(), p, access.Ask{Surface: access.API, Operation: opSignOut})
	}
	a.Access.EndPersonSignIn(value)
	setPerson(w, "", time.Time{}, a.Now())
	w.Header().Set("Cache-Control", "no-store")
	to, err := a.SignIn.SignOutURL(r.Context())
	if err != nil { // it is signed out here all the same
		a.Logger.Log(r.Context(), slog.LevelInfo, "no sign-out at the identity provider", "operation", opSignOut, "error", err)
	}
	if to == "" {
		plain(w, http.StatusOK, "You have signed out here.\n")
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
