package proxy

import (
	"net"
	"net/http"

	"berth/internal/origin"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// finder finds the place that a request addresses.
type finder func(*call) (policy.Place, error)

// Before sends requests to a session's own origin and those under /s/ to the proxy, refuses those to hosts that are not served
// here, and leaves the others to next. A [http.ServeMux] cannot do this: it redirects paths with // or dot segments, which the
// sessions' servers must get unchanged.
func (p *Proxy) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && p.ports != nil {
			if id, ours := p.ports.At(at.AddrPort().Port()); ours {
				p.answerCall(w, r, p.atPort(id, at.AddrPort().Port()))
				return
			}
		}
		switch kind, label := p.origins.Find(r.Host); {
		case kind == origin.OfSession:
			p.answerCall(w, r, p.atOrigin(label))
		case kind == origin.Foreign:
			p.answerCall(w, r, nowhere)
		case policy.IsByPath(policy.TargetOf(r.URL).Path):
			p.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

var errMisdirected = session.Errorf(session.CodeMisdirected,
	"this host name is not served here; the operator names Berth's own in BERTH_PUBLIC_URL and that of the sessions in SESSION_DOMAIN")

// nowhere is the finder of requests to foreign hosts.
func nowhere(*call) (policy.Place, error) { return policy.Place{}, errMisdirected }

// atOrigin returns the finder of requests to the origin with this label. For a label of no session it finds a place all the same:
// the answer must be that to a wrong token.
func (p *Proxy) atOrigin(label string) finder {
	return func(c *call) (policy.Place, error) {
		return policy.AtRoot(p.table.labelled(label), c.request.Target.Path)
	}
}

// atPort returns the finder of requests to a port that has, or had, a session. Its connections may outlive that.
func (p *Proxy) atPort(id session.ID, port uint16) finder {
	return func(c *call) (policy.Place, error) {
		if p.origins.FindAtPort(c.request.Host, port) == origin.Foreign {
			return nowhere(c)
		}
		place, err := policy.AtRoot(id, c.request.Target.Path)
		place.ByPort = true
		return place, err
	}
}

// byPath is the finder of requests under /s/.
func byPath(c *call) (policy.Place, error) { return policy.ByPath(c.request.Target.Path) }

// answerPreflight answers a browser that asks whether a page of another origin may send a request. The session's server is not asked:
// there is no credential.
func (p *Proxy) answerPreflight(c *call) error {
	if err := p.rules.Preflight(&c.request, policy.Header(c.w.Header())); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

var errNoOrigin = session.Errorf(session.CodeForbidden,
	"a browser opens sessions at addresses of their own, and this server has none: the operator sets SESSION_DOMAIN and BERTH_PUBLIC_URL. "+
		"Programs can use this address")

// redirectToOrigin redirects a browser from the session's path on Berth's origin to the session's own origin, whether or not there
// is such a session.
func (p *Proxy) redirectToOrigin(c *call) error {
	at, ok := p.origins.From(c.request.Place.Session, c.request.Host)
	if !ok {
		return errNoOrigin
	}
	target := policy.Target{Path: c.request.Place.Path, Query: policy.WithoutToken(c.request.Target.Query)}.String()
	c.w.Header().Set("Cache-Control", "no-store")
	http.Redirect(c.w, c.in, at+target[min(1, len(target)):], http.StatusTemporaryRedirect)
	return nil
}
