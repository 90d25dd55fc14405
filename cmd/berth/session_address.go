package main

import (
	"strings"

	"berth/internal/httpapi"
	"berth/internal/origin"
)

// addressesOf are the fields that tell how browsers and programs get to a session. Where the server does not know its own address,
// programs get the one that is used here.
func addressesOf(s httpapi.Session, api *client) [][2]string {
	var browsers, terminals [][2]string
	byPath := false
	for _, at := range s.Addresses {
		if origin.Way(at.By).ForBrowsers() {
			browsers = append(browsers, [2]string{"in a browser", at.URL})
		}
		if at.Attach != "" {
			terminals = append(terminals, [2]string{"in a terminal", at.Attach})
		}
		byPath = byPath || at.By == string(origin.ByPath)
	}
	if !byPath {
		terminals = append(terminals, [2]string{"in a terminal", httpapi.Attach(strings.TrimSuffix(api.base.String(), "/") + s.Path)})
	}
	return append(browsers, terminals...)
}
