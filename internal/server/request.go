package server

import (
	"context"
	"net/http"
	"sync/atomic"

	"berth/internal/access"
	"berth/internal/telemetry"
)

const requestIDHeader = "X-Request-ID"

type holdKey struct{}

// hold keeps the connection of one request from being closed for another connection.
type hold struct {
	connections *connections
	connection  *connection // of the request
	held        atomic.Bool
}

func (h *hold) begin() {
	if !h.held.Swap(true) {
		h.connection.hold(true)
		h.connection.begun()
		h.connections.leave(h.connection)
	}
}

func (h *hold) end() {
	if h.held.Load() {
		h.connection.hold(false)
	} else {
		h.connections.leave(h.connection)
	}
}

// admitted keeps the connections of the operator's requests and of those with platform tokens, which the operator has given out,
// and of those that the proxy forwards: it bounds their number by [Descriptors].
func (h *hold) admitted(p access.Principal, s access.Surface) {
	h.connection.know()
	if p.Kind == access.Operator || p.Kind == access.Platform || s == access.Proxy {
		h.begin()
	}
}

// HoldConnection keeps the connection of ctx's request from being closed for another one until the request is answered. Its
// caller bounds the number of such requests: the client decides how long reading a response takes.
func HoldConnection(ctx context.Context) {
	if h, ok := ctx.Value(holdKey{}).(*hold); ok {
		h.begin()
	}
}

// identified gives every request its client's address and an ID, which is the caller's if well formed. The ID is put into the
// context for logs, into the request for its handler, and into the response.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !telemetry.ValidRequestID(id) {
			id = telemetry.NewRequestID()
		}
		r = r.WithContext(telemetry.WithRequestID(r.Context(), id))
		h := &hold{connections: &s.connections, connection: connectionOf(r.Context())}
		if !s.connections.enter(h.connection, s.clients.most) {
			panic(http.ErrAbortHandler) // without a response, which may have to wait for the client
		}
		h.connection.begun()
		defer h.end() // what remains to be written fits a buffer
		client := s.client(r)
		client.OnAdmitted = h.admitted
		r = r.WithContext(context.WithValue(access.WithClient(r.Context(), client), holdKey{}, h))
		r.Header.Set(requestIDHeader, id)
		w.Header().Set(requestIDHeader, id)
		next.ServeHTTP(w, r)
	})
}

// closing adds "Connection: close" to responses while the process drains.
func (s *Server) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.draining:
			if r.Header.Get("Upgrade") == "" { // an upgraded connection stays open
				w.Header().Set("Connection", "close")
			}
		default:
		}
		next.ServeHTTP(w, r)
	})
}
