package server

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/session"
)

// Lines of the log at its usual level for requests without a valid token, by address: the log is rotated too.
const (
	loggedBurst = 100
	loggedEvery = time.Second
	mostLogged  = 8192 // addresses
)

// LogRequests writes a line for each request to the API, under its route's pattern and never its path, and turns a panic
// into a problem document.
func LogRequests(next http.Handler, log *slog.Logger) http.Handler {
	unauthenticated := access.NewLimiter[netip.Addr](loggedBurst, loggedEvery, mostLogged)
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
			if client := access.ClientOf(r.Context()); !client.Admitted() && unauthenticated.Take(client.Site) > 0 {
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
