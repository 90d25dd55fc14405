package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/session"
)

// opening is a session that a person wants to open in a browser.
type opening struct {
	session session.ID // empty: at says it
	at      string     // the session's own origin at which the browser has begun; empty: it has not
	binding string     // digest of what that browser has; empty with at
}

// path leads to the opening on Berth's own origin.
func (o opening) path() string {
	query := url.Values{}
	for name, value := range map[string]string{"session": string(o.session), "at": o.at, "binding": o.binding} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return OpenPath + "?" + query.Encode()
}

// openingOf reads a path that [opening.path] has made; false for any other.
func openingOf(path string) (opening, bool) {
	text, ok := strings.CutPrefix(path, OpenPath+"?")
	query, err := url.ParseQuery(text)
	if !ok || err != nil {
		return opening{}, false
	}
	o, err := readOpening(query)
	return o, err == nil
}

// maxAt is above the longest address of a session: a host name and a port.
const maxAt = 300

// readOpening checks the parameters of a request. Whether they lead to a session is not known before its sender is.
func readOpening(query url.Values) (opening, error) {
	o := opening{at: query.Get("at"), binding: query.Get("binding")}
	id, err := session.ParseID(query.Get("session"))
	at, atErr := url.Parse(o.at)
	switch named := query.Has("session"); {
	case len(query["session"]) > 1, len(query["at"]) > 1, len(query["binding"]) > 1, named == query.Has("at"):
	case named && err == nil && o.binding == "":
		o.session = id
		return o, nil
	case !named && atErr == nil && at.Host != "" && at.Path == "/" && len(o.at) <= maxAt && isDigest(o.binding):
		return o, nil
	}
	return opening{}, session.Errorf(session.CodeInvalid, "this address is not complete; open that of your session")
}

func isDigest(text string) bool {
	return len(text) == 64 && !strings.ContainsFunc(text, func(c rune) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'f') })
}

// openSession is where the page of a session's own origin sends a browser, whose user wants to sign in.
func (a *API) openSession(w http.ResponseWriter, r *http.Request) {
	o, err := readOpening(r.URL.Query())
	if err != nil {
		a.signInFailed(w, r, opOpenSession, err)
		return
	}
	a.beginOpening(w, r, o)
}

// beginOpening opens a session to who is signed in here already, and sends others to the provider first.
func (a *API) beginOpening(w http.ResponseWriter, r *http.Request, o opening) {
	if p, ok := a.Access.PersonSignedIn(personIn(r)); ok && isNavigation(r) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		a.open(w, r.WithContext(access.WithPrincipal(r.Context(), p)), p, o)
		return
	}
	if err := a.SignIn.Begin(w, r, o.path()); err != nil {
		a.signInFailed(w, r, opOpenSession, err)
	}
}

// open sends a person to a session's own origin, which shares no cookie with Berth's: with a link of one use for the browser that has
// begun there, or, where none has, to begin there. A link for any browser would sign in whoever sees it first, and whomever its
// owner sends there.
func (a *API) open(w http.ResponseWriter, r *http.Request, p access.Principal, o opening) {
	to, err := a.wayTo(r, p, o)
	if session.CodeOf(err) == session.CodeNotFound {
		err = session.Errorf(session.CodeNotFound, "%s; you have signed in as %s, and %s is where to change that", session.MessageOf(err), p.Owner, SignOutPath)
	}
	if err != nil {
		a.signInFailed(w, r, opOpenSession, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // one of the session's own addresses
}

// errNotAt is the same for an address of another's session and of none.
var errNotAt = session.Errorf(session.CodeNotFound, "you have no session at this address")

func (a *API) wayTo(r *http.Request, p access.Principal, o opening) (string, error) {
	ctx, id := r.Context(), o.session
	if id == "" {
		at, err := url.Parse(o.at)
		if err != nil {
			return "", errNotAt
		}
		id = a.SessionAt(at)
	}
	ask := access.Ask{Surface: access.API, Operation: opOpenSession, Verb: access.SignIns, Session: id}
	err := a.Access.Permit(ctx, p, ask, known{a})
	switch {
	case err != nil && o.at != "" && session.CodeOf(err) == session.CodeNotFound:
		return "", errNotAt // its ID is not for everyone
	case err != nil:
		return "", err
	case id == "":
		return "", errNotAt
	}
	addresses, err := a.forBrowsers(id)
	if err != nil {
		return "", err
	}
	if o.at == "" {
		return addresses[0].URL + strings.TrimPrefix(origin.Account, "/"), nil
	}
	for i, one := range addresses {
		if one.URL == o.at {
			made, err := a.newLink(ctx, p, id, o.binding)
			if err != nil {
				return "", err
			}
			return made.Links[i].URL, nil
		}
	}
	return "", errNotAt
}
