package asset

import (
	"net/http"
	"strings"
)

// vary says that the answer depends on Accept-Encoding, beside what it depends on already.
func vary(h http.Header) {
	for _, value := range h["Vary"] {
		for name := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(name, " \t"), "Accept-Encoding") {
				return
			}
		}
	}
	h["Vary"] = append(h["Vary"], "Accept-Encoding")
}

// recoded changes the validators of an answer whose coding was changed: its bytes are not those that a strong entity tag is of,
// and of which the server would send a range.
func recoded(h http.Header) {
	if tags := h["Etag"]; len(tags) > 0 && !strings.HasPrefix(tags[0], "W/") {
		h["Etag"] = []string{"W/" + tags[0]}
	}
	delete(h, "Accept-Ranges")
}
