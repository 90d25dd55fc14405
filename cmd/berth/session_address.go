package main

import (
	"strings"

	"berth/internal/httpapi"
	"berth/internal/origin"
)

// addressesOf are the fields that tell how browsers and programs get to a session.
func addressesOf(s httpapi.Session, api *client) [][2]string {
	attach := strings.TrimSuffix(api.base.String(), "/") + strings.TrimSuffix(s.Path, "/")
	var fields [][2]string
	for _, at := range s.Addresses {
		fields = append(fields, [2]string{"in a browser", at.URL})
		if at.By == string(origin.ByHost) { // programs resolve it too
			attach = strings.TrimSuffix(at.URL, "/")
		}
	}
	return append(fields, [2]string{"in a terminal", `opencode attach ` + attach + ` -p "$OPENCODE_SERVER_PASSWORD"`})
}
