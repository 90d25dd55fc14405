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

// Limits of log lines at the usual level, by address or session: without them one client could rotate the log away.
const (
	loggedBurst = 100
	loggedEvery = time.Second
	mostLogged  = 8192 // addresses, and sessions and owners
)

// LogShares bounds the log lines at the usual level that clients can cause: those of one address without a valid token, and
// those of one session by its token and its server, and those of one owner. Those of the operator and of platform tokens are not
// bounded. Make it with [NewLogShares].
type LogShares struct {
	addresses *access.Limiter[netip.Addr]
	holders   *access.Limiter[access.Subject] // of sessions' tokens, and owners
}

// NewLogShares returns LogShares that have counted nothing.
func NewLogShares() *LogShares {
	return &LogShares{
		access.NewLimiter[netip.Addr](loggedBurst, loggedEvery, mostLogged),
		access.NewLimiter[access.Subject](loggedBurst, loggedEvery, mostLogged),
	}
}

// MayLog counts a line about a session's client or server, and reports whether it is within the session's share.
func (s *LogShares) MayLog(id session.ID) bool {
	return s.mayLogOf(access.Subject{Kind: access.SessionToken, Name: string(id)})
}

func (s *LogShares) mayLogOf(holder access.Subject) bool { return s.holders.Take(holder) == 0 }

// mayLog counts a line about a request, and reports whether it is within its sender's share.
func (s *LogShares) mayLog(r *http.Request) bool {
	client := access.ClientOf(r.Context())
	switch p := client.Principal(); p.Kind {
	case access.Anonymous:
		return s.addresses.Take(client.Site) == 0
	case access.Operator, access.Platform:
		return true
	default:
		return s.mayLogOf(p.Subject())
	}
}

// LogRequests writes a line for each request to the API, under its route's pattern and never its path, and turns a panic
// into a problem document. What exceeds the shares is at DEBUG.
func LogRequests(next http.Handler, log *slog.Logger, shares *LogShares) http.Handler {
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
			if !shares.mayLog(r) {
				level = slog.LevelDebug
			}
			log.Log(r.Context(), level, "request", "operation", "request", "method", r.Method, "route", r.Pattern, "status", seen.status,
				"duration_ms", float64(time.Since(begun).Microseconds())/1000)
		}()
		next.ServeHTTP(seen, r)
	})
}

// statusWriter records the status of a response.
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

// Flush sends the buffered bytes of streams.
func (w *statusWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
