package server

import (
	"net/http"
	"time"
)

const (
	// bodyTimeout bounds the time for a request body before the client is authenticated. The proxy removes it for requests
	// with a valid token.
	bodyTimeout = 5 * time.Second
	// leftoverTimeout bounds how long the server waits for the rest of a body that was not read, before it responds.
	leftoverTimeout = time.Second
)

// limitBody bounds the time for request bodies. Without it an unauthenticated client that announces a body and withholds it
// keeps its connection for ever: net/http waits for the rest before it sends the response. The deadline is removed when the
// whole body has arrived, so that it does not limit the work on the request.
func limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		conn := http.NewResponseController(w)
		_ = conn.SetReadDeadline(time.Now().Add(bodyTimeout))
		defer func() { _ = conn.SetReadDeadline(time.Now().Add(leftoverTimeout)) }()
		next.ServeHTTP(w, r)
	})
}
