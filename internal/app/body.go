package app

import (
	"net/http"
	"time"
)

const (
	// bodyTimeout bounds how long a caller may take over a request body before anyone has let him in. The proxy lifts it
	// for those who show a token.
	bodyTimeout = 5 * time.Second
	// leftoverTimeout bounds how long the server waits for the rest of a body that nobody wanted, before it answers.
	leftoverTimeout = time.Second
)

// timed bounds the reading of request bodies. Without it a stranger who announces a body and withholds it keeps his
// connection for ever: net/http waits for the rest before it sends the answer. It lifts the deadline itself when a body
// has come, so that the work on a request may take its time.
func timed(next http.Handler) http.Handler {
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
