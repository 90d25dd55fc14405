package policy

import (
	"slices"
	"strings"

	"berth/internal/session"
)

// Clients that are pages of an origin of their own, such as desktop programs, may use sessions across origins with a credential that
// they send themselves. Cookies do not admit them, and a browser is never told that it may send what it keeps.

// DesktopOrigins are those of OpenCode's desktop programs.
var DesktopOrigins = []string{"oc://renderer", "tauri://localhost", "http://tauri.localhost", "https://tauri.localhost"}

// maxRequestHeaders bounds what a preflight asks for, in bytes.
const maxRequestHeaders = 1 << 10

// preflightAge is for how many seconds a client may keep the answer to a preflight: the most that Chromium does is 7200.
const preflightAge = "600"

var errPreflight = session.Errorf(session.CodeForbidden,
	"pages of this origin may not use sessions; the operator lists origins of clients in CORS_ORIGINS")

// sharesWith returns the origin of a request that comes across origins from a client that may.
func (r Rules) sharesWith(q *Request) (string, bool) {
	origins := q.Header["Origin"]
	if len(origins) != 1 || !slices.Contains(r.CrossOrigins, origins[0]) {
		return "", false
	}
	return origins[0], true
}

// IsPreflight reports whether a browser asks if a page of another origin may send a request. It carries no credential.
func (q *Request) IsPreflight() bool {
	return q.Method == methodOptions && len(q.Header["Origin"]) > 0 && len(q.Header["Access-Control-Request-Method"]) > 0
}

// Preflight writes the header of the answer to a preflight, which does not depend on the session, or returns a CodeForbidden error.
func (r Rules) Preflight(q *Request, h Header) error {
	asked := strings.Join(q.Header["Access-Control-Request-Headers"], ",")
	if _, ok := r.sharesWith(q); !ok || len(asked) > maxRequestHeaders || !isFieldNames(asked) {
		return errPreflight
	}
	h.set("Access-Control-Allow-Methods", AllowedMethods)
	if asked != "" {
		h.set("Access-Control-Allow-Headers", asked)
	}
	if q.Header.get("Access-Control-Request-Private-Network") == "true" {
		h.set("Access-Control-Allow-Private-Network", "true")
	}
	h.set("Access-Control-Max-Age", preflightAge)
	return nil
}

// Share lets a client of another origin read a response, if it may.
func (r Rules) Share(q *Request, h Header) {
	from, ok := r.sharesWith(q)
	if !ok {
		return
	}
	h.set("Access-Control-Allow-Origin", from)
	h.set("Access-Control-Expose-Headers", "*")
	h["Vary"] = append(h["Vary"], "Origin")
	h.set("Cross-Origin-Resource-Policy", "cross-origin")
}

// isFieldNames reports whether text is a list of names of fields.
func isFieldNames(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != ',' && c != ' '
	})
}
