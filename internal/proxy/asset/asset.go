// Package asset makes the static files of sessions' servers small and keepable: scripts, styles, images and fonts under /assets/.
// It compresses a file once for all sessions whose servers have the same file, and lets a browser keep those whose name changes
// with their content.
//
// It knows HTTP's rules about representations: codings, validators, Vary. It does not know sessions' servers or how a request
// reaches them: each file is read from the session's own server each time, and what is kept is found by the content that was read.
// A server can therefore give another session nothing, and neither learn nor replace what that one gets.
package asset

import (
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"

	"berth/internal/session"
)

// Request is what is known of a request for what may be an asset.
type Request struct {
	Session session.ID
	Method  string
	Path    string // raw, on the session's server
	Query   bool   // it has a query
	Header  http.Header
}

// prefix is where assets are.
const prefix = "/assets/"

const (
	minSize = 1 << 10 // bytes; a smaller file fits into one packet anyway
	maxSize = 8 << 20 // bytes; also the largest window of zstd that browsers accept (RFC 9659)
)

// kind is a kind of file, found by the extension of its name. A server that answers unknown names with a page must not have that
// page kept as a script: the type of its answer has to be one of these.
type kind struct {
	types      []string
	compressed bool // the format is compressed already
}

var (
	script = kind{types: []string{"text/javascript", "application/javascript"}}
	font   = kind{types: []string{"font/ttf", "font/otf", "font/sfnt"}}
	woff   = kind{types: []string{"font/woff", "font/woff2"}, compressed: true}
)

var kinds = map[string]kind{
	".js": script, ".mjs": script,
	".css":  {types: []string{"text/css"}},
	".svg":  {types: []string{"image/svg+xml"}},
	".wasm": {types: []string{"application/wasm"}},
	".ttf":  font, ".otf": font, ".woff": woff, ".woff2": woff,
	".png":  {types: []string{"image/png"}, compressed: true},
	".jpg":  {types: []string{"image/jpeg"}, compressed: true},
	".webp": {types: []string{"image/webp"}, compressed: true},
	".avif": {types: []string{"image/avif"}, compressed: true},
}

// plainPath matches raw paths that mean the same to everyone who reads them.
var plainPath = regexp.MustCompile(`^/assets(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$`)

// hashed matches the end of a file's name with a hash of its content, as bundlers write it. The hash is the first group: at least
// eight characters of base64url or hexadecimal.
var hashed = regexp.MustCompile(`[.-]([A-Za-z0-9_-]{8,})\.[a-z0-9]+$`)

// hasHash reports whether a path's last name has a hash in it. A word in lower case is none.
func hasHash(raw string) bool {
	match := hashed.FindStringSubmatch(path.Base(raw))
	return match != nil && strings.ContainsFunc(lastEight(match[1]), func(c rune) bool { return (c < 'a' || c > 'z') && c != '-' })
}

// lastEight returns the end of a name: what precedes may be words with hyphens.
func lastEight(s string) string { return s[len(s)-8:] }

// of returns the kind of asset that an answer is, and whether it is one at all.
func of(q Request, res *http.Response) (kind, bool) {
	h := res.Header
	if q.Method != http.MethodGet && q.Method != http.MethodHead || res.StatusCode != http.StatusOK ||
		!strings.HasPrefix(q.Path, prefix) || !plainPath.MatchString(q.Path) {
		return kind{}, false
	}
	for _, name := range []string{"Set-Cookie", "Content-Range", "Trailer"} {
		if len(h[name]) > 0 {
			return kind{}, false
		}
	}
	if len(q.Header["Range"]) > 0 || !plainVary(h["Vary"]) {
		return kind{}, false
	}
	k, ok := kinds[path.Ext(q.Path)]
	if !ok || len(h["Content-Type"]) != 1 {
		return kind{}, false
	}
	media, _, err := mime.ParseMediaType(h["Content-Type"][0])
	return k, err == nil && slices.Contains(k.types, media)
}

// plainVary reports whether an answer depends at most on the request's Origin, for the fields of CORS, and on Accept-Encoding.
func plainVary(values []string) bool {
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.Trim(name, " \t")) {
			case "", "origin", "accept-encoding":
			default:
				return false
			}
		}
	}
	return true
}

// keepable reports whether a browser may keep the answer for as long as it likes: the name changes with the content, and the
// server has not said otherwise.
func keepable(q Request, h http.Header) bool { return hasHash(q.Path) && silent(q, h) }

// silent reports whether it is left to Berth how long a browser may keep the answer. The script of a worker is loaded anew each
// time: it acts for pages that come later.
func silent(q Request, h http.Header) bool {
	if q.Query || strings.Contains(q.Header.Get("Sec-Fetch-Dest"), "worker") || len(q.Header["Service-Worker"]) > 0 {
		return false
	}
	return len(h["Cache-Control"]) == 0 && len(h["Expires"]) == 0 && len(h["Pragma"]) == 0
}

// compressible reports whether the answer may be sent in another coding.
func compressible(k kind, h http.Header) bool {
	if k.compressed {
		return false
	}
	for _, name := range []string{"Content-Encoding", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"} {
		if len(h[name]) > 0 {
			return false
		}
	}
	return !slices.ContainsFunc(h["Cache-Control"], func(value string) bool {
		return strings.Contains(strings.ToLower(value), "no-transform")
	})
}
