package access

import (
	"encoding/base64"
	"strings"

	"berth/internal/session"
)

// Via is a set of ways in which a request may show its token.
type Via uint8

// Every way.
const (
	ViaBearer Via = 1 << iota // Authorization: Bearer TOKEN
	ViaBasic                  // the password of HTTP Basic with any user name, for clients that know nothing else (git, curl -u)
)

// ReadCredential returns the token that a request shows in one of the accepted ways; authorization are the values of its
// Authorization headers. It is empty when there is none, and when there is more than one header, which servers read
// differently.
func ReadCredential(authorization []string, accept Via) session.Secret {
	if len(authorization) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(authorization[0], " ")
	switch {
	case accept&ViaBearer != 0 && strings.EqualFold(scheme, "Bearer"):
		return session.Secret(strings.TrimSpace(rest))
	case accept&ViaBasic != 0 && strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return ""
		}
		_, password, _ := strings.Cut(string(text), ":")
		return session.Secret(password)
	}
	return ""
}
