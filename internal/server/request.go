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

// hold keeps the connection of one request from being closed for another one.
type hold struct {
	connection *connection // of the request
	held       atomic.Bool
}

func (h *hold) begin() {
	if !h.held.Swap(true) {
		h.connection.hold(true)
	}
}

func (h *hold) end() {
	if h.held.Load() {
		h.connection.hold(false)
	}
}

// admitted keeps the connections of the operator's requests, and of those that the proxy forwards: it bounds their number by
// [Descriptors].
func (h *hold) admitted(p access.Principal, s access.Surface) {
	h.connection.know()
	if p.Kind == access.Operator || s == access.Proxy {
		h.begin()
	}
}

// HoldConnection keeps the connection of ctx's request from being closed for another one until the request is answered. Its
// caller bounds the number of such requests: an answer lasts as long as its reader likes.
func HoldConnection(ctx context.Context) {
	if h, ok := ctx.Value(holdKey{}).(*hold); ok {
		h.begin()
	}
}

// identified gives every request its client's address, and an ID, the caller's if it is well formed: in the context for
// logs, in the request for what answers it, and in the answer.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !telemetry.ValidRequestID(id) {
			id = telemetry.NewRequestID()
		}
		r = r.WithContext(telemetry.WithRequestID(r.Context(), id))
		h := &hold{connection: connectionOf(r.Context())}
		defer h.end() // what is left to be written is no more than fits a buffer
		client := s.client(r)
		client.OnAdmitted = h.admitted
		r = r.WithContext(context.WithValue(access.WithClient(r.Context(), client), holdKey{}, h))
		r.Header.Set(requestIDHeader, id)
		w.Header().Set(requestIDHeader, id)
		next.ServeHTTP(w, r)
	})
}

// closing has answers say, once the process drains, that their connection ends with them.
func (s *Server) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.draining:
			if r.Header.Get("Upgrade") == "" { // the connection is to be another protocol's
				w.Header().Set("Connection", "close")
			}
		default:
		}
		next.ServeHTTP(w, r)
	})
}
