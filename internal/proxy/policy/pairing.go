package policy

import (
	"slices"
	"strings"

	"berth/internal/origin"
	"berth/internal/session"
)

// Berth pairs devices with sessions itself. The pairing of a session's server would be a second way in, which a rotation of the session's
// token does not close; it is unreachable, whether or not Berth's own is on.

var (
	errPairing = session.Errorf(session.CodeForbidden,
		"Berth pairs devices here itself: send POST "+origin.Pair+" with the session's token, and open "+origin.Connect+"{code} with what it answers")
	errNoPairing = session.Errorf(session.CodeForbidden,
		"devices cannot pair with this session: the operator allows it with SESSION_DEVICES=true; until then use the session's token. "+
			"The server's own pairing is not reachable, because what it lets in would outlive the session's token")
	errPagePairs = session.Errorf(session.CodeForbidden,
		"a page of the session cannot pair devices, because an agent may have made it; do it with the device itself, or another program")
)

// MayPair returns an error for a request that a page of the session, or of another site, may have made a browser send. A browser may add a
// credential to it that the page does not have.
func (r Rules) MayPair(q *Request) error {
	if q.IsFromOwnPage() || q.Header.get("Sec-Fetch-Site") == "same-origin" {
		return errPagePairs
	}
	return r.checkOrigin(q)
}

// WantsJSON reports whether the client asks for JSON.
func (q *Request) WantsJSON() bool {
	return strings.Contains(q.Header.get("Accept"), "application/json")
}

// checkPairing refuses the calls of the server's own pairing.
func (r Rules) checkPairing(q *Request) error {
	switch {
	case !isPairing(q.Place.Path):
		return nil
	case r.Devices:
		return errPairing
	}
	return errNoPairing
}

// isPairing reports whether a server may take a raw path for one of its pairing's.
func isPairing(raw string) bool {
	all, _ := readings(raw) // what cannot be read is not forwarded
	return slices.ContainsFunc(all, func(path []string) bool {
		return len(path) == 2 && beginsWith(path, "api", "pair") || beginsWith(path, "auth", "connect")
	})
}

func beginsWith(path []string, first, second string) bool {
	return len(path) >= 2 && strings.EqualFold(path[0], first) && strings.EqualFold(path[1], second)
}
