package server

import (
	"net/http"
	"time"
)

const (
	// bodyTimeout bounds how long a client may take over a request body before it is authenticated. The proxy lifts it for
	// requests with a valid token.
	bodyTimeout = 5 * time.Second
	// leftoverTimeout bounds how long the server waits for the rest of a body that was not read, before it answers.
	leftoverTimeout = time.Second
)

// limitBody bounds the reading of request bodies. Without it an unauthenticated client that announces a body and withholds
// it keeps its connection for ever: net/http waits for the rest before it sends the answer. It lifts the deadline itself when a body
// has come, so that the work on a request may take its time.
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
