package origin

import "berth/internal/session"

// Paths of Berth's own pages on a session's origin. Nothing below Pages reaches the session's server.
const (
	Pages   = "/.berth/"
	SignIn  = Pages + "sign-in"
	SignOut = Pages + "sign-out"
	Links   = Pages + "link/"   // followed by a code
	Account = Pages + "account" // begins the sign-in of a person; the parameter to is the path to go on to

	Progress = Pages + "progress" // JSON: how far the session's start has come
)

// Paths of the pairing of devices, as OpenCode 2's clients use it.
const (
	Pair    = "/api/pair"
	Connect = "/auth/connect/" // followed by a code
)

// Link is the link with this code at an address of a session, which ends with a slash.
func Link(address string, code session.Secret) string { return address + Links[1:] + code.Reveal() }
