package policy

import (
	"strings"

	"berth/internal/session"
)

// PathPrefix is the prefix of sessions addressed by path: /s/{id}/….
const PathPrefix = "/s/"

// Place is a request's session and its path there. Each form of addressing has its own function that finds it; nothing else
// depends on the form.
type Place struct {
	Session session.ID
	Prefix  string // where the session's paths begin for the client, without the last slash
	Path    string // raw path for the session's server, begins with a slash; "": the client left the slash out
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
