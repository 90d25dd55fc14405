package policy

import (
	"strings"

	"berth/internal/session"
)

// PathPrefix is the prefix of sessions addressed by path: /s/{id}/….
const PathPrefix = "/s/"

// Place is a request's session and its path there. Each form of addressing has its own function that finds it. The zero value is
// nowhere.
type Place struct {
	Session session.ID
	Prefix  string // where the session's paths begin for the client, without the last slash; "": on an origin of the session's own
	Path    string // raw path for the session's server, begins with a slash; "": the client left the slash out
	ByPort  bool   // the origin is a port, which may have been another session's
}

// IsOwnOrigin reports whether the place is on an origin that only the session has.
func (p Place) IsOwnOrigin() bool { return p.Prefix == "" && p.Path != "" }

// AtRoot is the place of a raw path on a session's own origin. An empty ID is a session that there cannot be. It returns a
// CodeMalformed error for what is not a path, such as the asterisk of an OPTIONS request.
func AtRoot(id session.ID, raw string) (Place, error) {
	if !strings.HasPrefix(raw, "/") {
		return Place{}, session.Errorf(session.CodeMalformed, "the request's target must be a path")
	}
	return Place{Session: id, Path: raw}, nil
}

// Protect adds to the header of a final response what confines the document in it. On its own origin pages of others may not
// frame it, open it with a reference to its window, or embed it. By path it shares the origin of the API, so that it gets none:
// a sandboxed document has an opaque origin and runs no scripts.
func (p Place) Protect(h Header) {
	if !p.IsOwnOrigin() {
		h["Content-Security-Policy"] = append(h["Content-Security-Policy"], "sandbox")
		return
	}
	h["Content-Security-Policy"] = append(h["Content-Security-Policy"], "frame-ancestors 'self'")
	h.set("Cross-Origin-Opener-Policy", "same-origin")
	h.set("Cross-Origin-Resource-Policy", "same-origin")
}

// IsByPath reports whether a raw path has the prefix of sessions, whatever follows it.
func IsByPath(raw string) bool { return strings.HasPrefix(raw, PathPrefix) }

// ByPath finds the place of a raw path. It returns a CodeNotFound error if there can be no such session.
func ByPath(raw string) (Place, error) {
	id, rest, ok := splitPath(raw)
	if !ok {
		return Place{}, session.Errorf(session.CodeNotFound, "there is nothing here; sessions are at /s/{id}/")
	}
	known, err := session.ParseID(id)
	if err != nil {
		return Place{}, err
	}
	return Place{Session: known, Prefix: PathPrefix + id, Path: rest}, nil
}

// splitPath cuts /s/{id}/rest into the id as it was written and the rest, which begins with a slash, or is empty when
// there is no slash after the id. It decodes nothing, so that %2F and %2E%2E are ordinary characters here.
func splitPath(raw string) (id, rest string, ok bool) {
	after, ok := strings.CutPrefix(raw, PathPrefix)
	if !ok {
		return "", "", false
	}
	if i := strings.IndexByte(after, '/'); i >= 0 {
		return after[:i], after[i:], true
	}
	return after, "", true
}
