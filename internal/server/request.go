package server

import (
	"net/http"

	"berth/internal/access"
	"berth/internal/telemetry"
)

const requestIDHeader = "X-Request-ID"

// identified gives every request its client's address, and an ID, the caller's if it is well formed: in the context for
// logs, in the request for what answers it, and in the answer.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !telemetry.ValidRequestID(id) {
			id = telemetry.NewRequestID()
		}
		r = r.WithContext(telemetry.WithRequestID(r.Context(), id))
		connected := r.Context()
		client := s.client(r)
		client.OnAdmitted = func() { s.connections.hold(connected, true) }
		defer func() {
			if client.Admitted() { // what is left to be written is no more than fits a buffer
				s.connections.hold(connected, false)
			}
		}()
		r = r.WithContext(access.WithClient(connected, client))
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
