package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"berth/internal/httpapi"
	"berth/internal/session"
	"berth/internal/telemetry"
	"berth/internal/throttle"
)

const requestIDHeader = "X-Request-ID"

// Lines of the log at its usual level for requests without a valid token, by address: the log is rotated too.
const (
	loggedBurst = 100
	loggedEvery = time.Second
	mostLogged  = 8192 // addresses
)

type admissionKey struct{}

// admission is whether a request came with a valid token.
type admission struct {
	atomic.Bool
	hold func(held bool) // keeps the request's connection from being closed for another one
}

// withAdmission makes room for [markAuthenticated].
func withAdmission(ctx context.Context, hold func(held bool)) context.Context {
	return context.WithValue(ctx, admissionKey{}, &admission{hold: hold})
}

// markAuthenticated notes that the request of ctx came with a valid token.
func markAuthenticated(ctx context.Context) {
	if mark, ok := ctx.Value(admissionKey{}).(*admission); ok && !mark.Swap(true) {
		mark.hold(true)
	}
}

func isAuthenticated(ctx context.Context) bool {
	mark, ok := ctx.Value(admissionKey{}).(*admission)
	return ok && mark.Load()
}

// requestID returns the ID that [App.identified] has given the request.
func requestID(r *http.Request) string { return telemetry.RequestID(r.Context()) }

// ownRequest gives what Berth does of its own accord an ID as well, so that everything that belongs to it is found by it.
func ownRequest(ctx context.Context) context.Context {
	return telemetry.WithRequestID(ctx, telemetry.NewRequestID())
}

// identified gives every request its client's address, and an ID, the caller's if it is well formed: in the context for
// logs, in the request for what answers it, and in the answer.
func (a *App) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !telemetry.ValidRequestID(id) {
			id = telemetry.NewRequestID()
		}
		r = r.WithContext(telemetry.WithRequestID(r.Context(), id))
		a.proxies.applyForwarded(r, a.cfg.Proxy.TrustForwardedProto)
		connected := r.Context()
		ctx := withAdmission(connected, func(held bool) { a.connections.hold(connected, held) })
		defer func() {
			if isAuthenticated(ctx) { // what is left to be written is no more than fits a buffer
				a.connections.hold(connected, false)
			}
		}()
		r = r.WithContext(withRemote(ctx, r.RemoteAddr))
		r.Header.Set(requestIDHeader, id)
		w.Header().Set(requestIDHeader, id)
		next.ServeHTTP(w, r)
	})
}

// logged writes a line for each request to the API, under its route's pattern and never its path, and turns a panic
// into a problem document.
func (a *App) logged(next http.Handler) http.Handler {
	log := a.named("httpapi")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		seen := &statusWriter{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				log.ErrorContext(r.Context(), "request handler panicked", "panic", p, "stack", string(debug.Stack()))
				if seen.status == 0 {
					httpapi.WriteProblem(seen, r, session.Errorf(session.CodeInternal, "internal error"))
				}
			}
			level := slog.LevelInfo
			if !isAuthenticated(r.Context()) && a.unauthenticated.Take(throttle.SiteOf(r.RemoteAddr)) > 0 {
				level = slog.LevelDebug
			}
			log.Log(r.Context(), level, "request", "operation", "request", "method", r.Method, "route", r.Pattern, "status", seen.status,
				"duration_ms", float64(time.Since(begun).Microseconds())/1000)
		}()
		next.ServeHTTP(seen, r)
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Flush sends what is buffered, for streams.
func (w *statusWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
