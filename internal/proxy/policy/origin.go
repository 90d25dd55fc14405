package policy

import (
	"berth/internal/origin"
	"berth/internal/session"
)

// ErrCrossOrigin is the error for a request that a page of another origin may have made a browser send.
var ErrCrossOrigin = session.Errorf(session.CodeForbidden,
	"this call came from a page of another site and was refused; make it from Berth's own address, "+
		"or from a program that sends no Origin header. Behind a proxy that ends TLS, the operator names it in TRUSTED_PROXIES, so that Berth believes its X-Forwarded-Proto")

// checkOrigin refuses requests that a page of another origin could make a browser send: those that change something, and
// upgrades, which the same-origin policy does not cover. The sessions' servers do not check the origin when a request carries
// their credential, and all requests from Berth do. A request without Origin does not come from a page.
func (r Rules) checkOrigin(q *Request) error {
	if isSafe(q.Method) && q.Header.get("Upgrade") == "" {
		return nil
	}
	if _, ok := r.sharesWith(q); ok { // with a credential that it has sent itself: cookies do not admit it
		return nil
	}
	for _, site := range q.Header["Sec-Fetch-Site"] {
		// "none" is a navigation by the user: a typed address, a bookmark.
		if site != "same-origin" && site != "none" {
			return ErrCrossOrigin
		}
	}
	switch origins := q.Header["Origin"]; {
	case len(origins) == 0:
		return nil
	case len(origins) > 1, !origin.Same(origins[0], q.Scheme, q.Host):
		return ErrCrossOrigin
	}
	return nil
}

// IsFromOwnPage reports whether a browser says that a page of the request's own origin sends it.
func (q *Request) IsFromOwnPage() bool {
	origins := q.Header["Origin"]
	return len(origins) == 1 && origin.Same(origins[0], q.Scheme, q.Host)
}

func isSafe(method string) bool {
	return method == methodGet || method == methodHead || method == methodOptions
}
