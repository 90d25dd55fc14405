package httpapi

import (
	"cmp"
	"net/http"
	"time"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/session"
)

// personCookie has the sign-in of a person at Berth's own origin. The underscore keeps its name apart from those of sessions, which have
// their labels: to a browser, ports of one host share their cookies.
const personCookie = "__Host-berth_person"

// setPerson sets the cookie until a time; the zero time removes it.
func setPerson(w http.ResponseWriter, value session.Secret, until, now time.Time) {
	cookie := &http.Cookie{
		Name: personCookie, Value: value.Reveal(), Path: "/", MaxAge: -1,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, // the provider's redirect is a navigation from another site
	}
	if !until.IsZero() {
		cookie.MaxAge = int(until.Sub(now) / time.Second)
	}
	http.SetCookie(w, cookie)
}

// personIn returns the value of a request's cookie; empty if there is none, or more than one, which a page next door may have set.
func personIn(r *http.Request) session.Secret {
	if found := r.CookiesNamed(personCookie); len(found) == 1 {
		return session.Secret(found[0].Value)
	}
	return ""
}

// personOf returns the value of the cookie where it counts: in requests of Berth's own pages. A browser sends it along with what pages
// next door ask for, and their requests must change nothing, and read nothing.
func personOf(r *http.Request) session.Secret {
	if !isFromOwnPage(r) {
		return ""
	}
	return personIn(r)
}

// isFromOwnPage reports whether a browser says that a page of Berth's own origin sends a request. Of what it says, all must agree.
func isFromOwnPage(r *http.Request) bool {
	origins, sites := r.Header["Origin"], r.Header["Sec-Fetch-Site"]
	switch {
	case len(origins) > 1, len(sites) > 1, len(sites) == 1 && sites[0] != "same-origin":
		return false
	case len(origins) == 1:
		return origin.Same(origins[0], cmp.Or(access.ClientOf(r.Context()).Scheme, "http"), r.Host)
	default:
		return len(sites) == 1
	}
}

// isNavigation reports whether a browser navigates the whole window, which shows the answer to nobody but its user, from wherever.
func isNavigation(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" &&
		len(r.Header["Sec-Fetch-Site"]) == 1 && len(r.Header["Origin"]) == 0
}
