package guard

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"syscall"
	"time"

	"berth/internal/inflight"
)

// statusClientGone is the logged status of a request that its client canceled; it is never sent.
const statusClientGone = 499

type handler struct {
	options Options
	// onStop runs f when draining begins, unless the returned function was called before.
	onStop      func(f func()) (forget func() bool)
	calls       *inflight.Counter // taken-over connections included
	connections *connections
	probes      *probes
	transport   *http.Transport
	proxy       *httputil.ReverseProxy
	logger      *slog.Logger
}

// refusal is an answer of the guard itself, instead of the engine's.
type refusal struct {
	status  int
	message string
}

// decide says whether a request may pass to the engine; nil lets it pass. Every request comes through here before anything
// of it reaches the engine, upgrades included, so this is the place of the whole policy. At present it admits every client with a
// certificate that is still valid: a connection may outlive the certificate that opened it.
func (h *handler) decide(presented []*x509.Certificate, _ *http.Request) *refusal {
	if err := h.admits(presented); err != nil {
		return &refusal{http.StatusForbidden, "the client certificate of this connection is not accepted any more (" + err.Error() + "): connect again with a valid one"}
	}
	return nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	route := routeOf(r.URL.Path)
	rec := &recorder{ResponseWriter: w}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		writeError(rec, http.StatusForbidden, "a client certificate is needed")
		return
	}
	client := r.TLS.PeerCertificates[0]
	ended := h.connections.identify(r)
	defer func() {
		h.logger.DebugContext(r.Context(), "engine request", "method", r.Method, "route", route, "status", rec.status,
			"duration_ms", float64(time.Since(began).Microseconds())/1000, "client", client.Subject.CommonName, "hijacked", rec.hijacked)
	}()
	if !h.calls.Begin() {
		writeError(rec, http.StatusServiceUnavailable, "berth guard is stopping: try again when it runs again")
		return
	}
	defer h.calls.End(false)
	if no := h.decide(r.TLS.PeerCertificates, r); no != nil {
		rec.Header().Set("Connection", "close")
		writeError(rec, no.status, no.message)
		return
	}
	if r.URL.Path == ClientsPath && r.Method == http.MethodGet {
		h.serveClients(rec, r)
		return
	}
	if r.URL.Path == ProbePath && r.Method == http.MethodPost {
		h.probes.serve(rec)
		return
	}
	if takesOver(r, route) {
		h.serveHijack(rec, r)
		if rec.hijacked {
			ended()
		}
		return
	}
	if endless(r, route) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		forget := h.onStop(func() { cancel(errStopped) })
		defer forget()
		r = r.WithContext(ctx)
	}
	// The engine answers some uploads while it still reads them; without this the server would swallow the rest of the body.
	// Its only error is that of a writer which is not an HTTP/1 connection, and that does not need it.
	_ = http.NewResponseController(rec).EnableFullDuplex()
	h.proxy.ServeHTTP(rec, r)
}

// engineFailed answers a request that the engine did not.
func (h *handler) engineFailed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(context.Cause(r.Context()), errStopped):
		writeError(w, http.StatusServiceUnavailable, "berth guard is stopping: try again when it runs again")
	case r.Context().Err() != nil:
		w.WriteHeader(statusClientGone)
	default:
		h.logger.ErrorContext(r.Context(), "engine not reached", "socket", h.options.Socket, "error", err)
		writeError(w, http.StatusBadGateway, engineMessage(h.options.Socket, err))
	}
}

// engineMessage is the message for the operator of this host.
func engineMessage(socket string, err error) string {
	var op *net.OpError
	dialled := errors.As(err, &op) && op.Op == "dial"
	switch {
	case dialled && errors.Is(err, fs.ErrNotExist):
		return "the engine's socket " + socket + " does not exist: start the Docker engine (systemctl start docker), or give berth guard the right --socket"
	case dialled && errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens on the engine's socket " + socket + ": start the Docker engine (systemctl start docker)"
	case dialled && errors.Is(err, fs.ErrPermission):
		return "berth guard may not open the engine's socket " + socket + ": run it as root or as a member of the socket's group"
	case dialled:
		return "berth guard cannot connect to the engine's socket " + socket + ": see whether the Docker engine is healthy (systemctl status docker)"
	default:
		return "the engine ended the connection before it answered: try again, and see the engine's log if it persists (journalctl -u docker)"
	}
}

// writeError answers in the format of the engine's errors.
func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"message": message})
}

// writeJSON answers with a value in JSON.
func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that does not read its answer has disconnected.
	_ = json.NewEncoder(w).Encode(value)
}

// recorder records the status and size of an answer, for the log.
type recorder struct {
	http.ResponseWriter
	status   int
	hijacked bool
}

func (r *recorder) WriteHeader(status int) {
	if status >= http.StatusOK && r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush, take over and switch to full duplex.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
