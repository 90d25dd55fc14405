package asset

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// entityTag is that of a content in any coding: a weak one, which is enough for a browser to ask whether its copy is still right.
func entityTag(sum [sha256.Size]byte) string { return `W/"` + hex.EncodeToString(sum[:16]) + `"` }

// taggable reports whether an answer gets an entity tag: a browser may not keep it unseen, and the server has given it nothing to ask
// about it with.
func taggable(q Request, h http.Header) bool {
	return silent(q, h) && !hasHash(q.Path) && len(h["Etag"]) == 0 && len(h["Last-Modified"]) == 0
}

// has reports whether a request's If-None-Match names the tag.
func has(q Request, tag string) bool {
	for _, value := range q.Header["If-None-Match"] {
		for one := range strings.SplitSeq(value, ",") {
			if strings.Trim(one, " \t") == tag {
				return true
			}
		}
	}
	return false
}

// notModified has the browser use its copy.
func notModified(res *http.Response) {
	for _, name := range []string{"Content-Type", "Content-Length", "Accept-Ranges"} {
		delete(res.Header, name)
	}
	res.StatusCode, res.Status = http.StatusNotModified, "304 Not Modified"
	res.Body, res.ContentLength = http.NoBody, 0
}
