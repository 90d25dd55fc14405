package main

import (
	"strings"

	"berth/internal/httpapi"
	"berth/internal/origin"
)

// pathAddress is the session's address below Berth's own: the one that is used here, where the server does not know it.
func pathAddress(s httpapi.Session, api *client) string {
	for _, at := range s.Addresses {
		if at.By == string(origin.ByPath) {
			return strings.TrimSuffix(at.URL, "/")
		}
	}
	return strings.TrimSuffix(api.base.String(), "/") + s.Path
}

// addressesOf are the fields that tell how browsers and programs get to a session.
func addressesOf(s httpapi.Session, api *client) [][2]string {
	var browsers, terminals [][2]string
	byPath := false
	for _, at := range s.Addresses {
		if way := origin.Way(at.By); way.ForBrowsers() && (origin.Address{Way: way, URL: at.URL}).IsSecure() {
			browsers = append(browsers, [2]string{"in a browser", at.URL})
		}
		if at.Attach != "" {
			terminals = append(terminals, [2]string{"in a terminal", at.Attach})
		}
		byPath = byPath || at.By == string(origin.ByPath)
	}
	if !byPath {
		terminals = append(terminals, [2]string{"in a terminal", httpapi.Attach(pathAddress(s, api))})
	}
	return append(browsers, terminals...)
}
