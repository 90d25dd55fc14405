package guard

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Routes on which the engine takes connections over, or answers without an end.
const (
	routeAttach    = "/containers/{id}/attach"
	routeExecStart = "/exec/{id}/start"
	routeEvents    = "/events"
	routeLogs      = "/containers/{id}/logs"
	routeStats     = "/containers/{id}/stats"
)

var versionPrefix = regexp.MustCompile(`^/v[0-9]+\.[0-9]+(/|$)`)

// routeOf is the pattern of an engine path for logs and for choosing how to forward: no version, no ids, no names. Its values are
// from a closed set, whatever a client sends; what is unknown becomes {other}.
func routeOf(path string) string {
	path = versionPrefix.ReplaceAllString(path, "/")
	segments := strings.Split(strings.Trim(path, "/"), "/")
	head, rest := segments[0], segments[1:]
	switch head {
	case "containers", "exec", "networks", "volumes", "services", "tasks", "nodes", "secrets", "configs":
		return "/" + head + resource(rest)
	case "images", "distribution", "plugins":
		return "/" + head + named(rest)
	case "_ping", "auth", "build", "commit", "events", "grpc", "info", "session", "swarm", "system", "version":
		if len(rest) == 0 {
			return "/" + head
		}
		return "/" + head + "/" + wordOf(rest[0])
	default:
		return "/{other}"
	}
}

// resource is the pattern after a collection with ids of one segment.
func resource(rest []string) string {
	switch {
	case len(rest) == 0:
		return ""
	case len(rest) == 1 && slices.Contains(collectionWords(), rest[0]):
		return "/" + rest[0]
	case len(rest) == 1:
		return "/{id}"
	case len(rest) == 3 && rest[1] == "attach" && rest[2] == "ws":
		return "/{id}/attach/ws"
	case len(rest) == 2:
		return "/{id}/" + wordOf(rest[1])
	default:
		return "/{id}/{other}"
	}
}

// named is the pattern after a collection with names that may contain slashes.
func named(rest []string) string {
	if len(rest) == 0 {
		return ""
	}
	last := rest[len(rest)-1]
	switch {
	case len(rest) == 1 && slices.Contains(collectionWords(), last):
		return "/" + last
	case len(rest) == 1 || wordOf(last) == "{other}":
		return "/{name}"
	default:
		return "/{name}/" + last
	}
}

// collectionWords are the words that may follow a collection instead of an id.
func collectionWords() []string {
	return []string{"json", "create", "prune", "search", "get", "load", "pull", "privileges"}
}

// wordOf is word itself if it is one of the engine's.
func wordOf(word string) string {
	switch word {
	case "archive", "attach", "cancel", "changes", "connect", "create", "df", "disable", "disconnect", "enable", "exec",
		"export", "get", "history", "init", "join", "json", "kill", "leave", "logs", "pause", "prune", "push", "rename",
		"resize", "restart", "set", "start", "stats", "stop", "tag", "top", "unlock", "unlockkey", "unpause", "update",
		"upgrade", "wait":
		return word
	default:
		return "{other}"
	}
}

// endless reports whether an answer has no end of its own, so that draining must not wait for it.
func endless(r *http.Request, route string) bool {
	if r.Method != http.MethodGet {
		return false
	}
	switch route {
	case routeEvents:
		return true
	case routeLogs:
		return flag(r, "follow", false)
	case routeStats:
		return flag(r, "stream", true) && !flag(r, "one-shot", false)
	default:
		return false
	}
}

// flag reads a boolean query parameter; unset is its value when it is absent.
func flag(r *http.Request, name string, unset bool) bool {
	value := r.URL.Query().Get(name)
	if value == "" {
		return unset
	}
	on, err := strconv.ParseBool(value)
	return err == nil && on
}
