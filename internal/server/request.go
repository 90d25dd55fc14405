package server

import (
	"context"
	"net/http"
	"sync/atomic"

	"berth/internal/telemetry"
)

const requestIDHeader = "X-Request-ID"

type admissionKey struct{}

// admission is whether a request came with a valid token.
type admission struct {
	atomic.Bool
	hold func(held bool) // keeps the request's connection from being closed for another one
}

// withAdmission makes room for [MarkAuthenticated].
func withAdmission(ctx context.Context, hold func(held bool)) context.Context {
	return context.WithValue(ctx, admissionKey{}, &admission{hold: hold})
}

// MarkAuthenticated notes that the request of ctx came with a valid token.
func MarkAuthenticated(ctx context.Context) {
	if mark, ok := ctx.Value(admissionKey{}).(*admission); ok && !mark.Swap(true) {
		mark.hold(true)
	}
}

func isAuthenticated(ctx context.Context) bool {
	mark, ok := ctx.Value(admissionKey{}).(*admission)
	return ok && mark.Load()
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
		connected := r.Context()
		ctx := withAdmission(s.client(r), func(held bool) { s.connections.hold(connected, held) })
		defer func() {
			if isAuthenticated(ctx) { // what is left to be written is no more than fits a buffer
				s.connections.hold(connected, false)
			}
		}()
		r = r.WithContext(ctx)
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
