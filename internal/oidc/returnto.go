package oidc

import (
	"net/url"
	"strings"

	"berth/internal/session"
)

const maxReturnTo = 1024

// CheckReturnTo returns a CodeInvalid error unless text is where a person may be sent after the sign-in: a path of this origin with
// its query. Whatever a browser may read as another host is refused. Empty text is none, and allowed.
func CheckReturnTo(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, len(text) > maxReturnTo,
		!strings.HasPrefix(text, "/"), strings.HasPrefix(text, "//"), u.Scheme != "", u.Host != "", u.Opaque != "",
		strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }),
		strings.Contains(u.Path, "//"), strings.ContainsAny(u.Path, "\\\r\n\t"), hasDots(u.Path):
		return session.Errorf(session.CodeInvalid, "the address to return to must be a session's ID or a path of this server, like /ui/")
	}
	return nil
}

// hasDots reports whether a path has segments that browsers resolve, which may leave it with two slashes at its front.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
