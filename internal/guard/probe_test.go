package guard

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	engine "berth/internal/doctor/connection"
	"berth/internal/pki"
)

// ping is an engine that answers the requests of a connection test.
func ping(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	if strings.HasSuffix(r.URL.Path, "/containers/json") {
		_, _ = w.Write([]byte("[]"))
		return
	}
	_, _ = w.Write([]byte("OK"))
}

// warnings counts the warnings about refused handshakes.
func (w *fixture) warnings() (count int) {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	for _, entry := range w.log.entries {
		if entry["level"] == "WARN" && entry["msg"] == "tls handshake refused" {
			count++
		}
	}
	return count
}

// shake tries a handshake without a certificate and returns when the guard has ended it.
func (w *fixture) shake(t *testing.T, protocols ...string) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: append(protocols, "http/1.1")}}
	conn, err := dialer.DialContext(t.Context(), "tcp", w.address)
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a client without a certificate was admitted")
	}
}

// The connection test verifies that clients without a certificate are refused, which is not an attack.
func TestConnectionTestIsNotLoggedAsAnAttack(t *testing.T) {
	t.Parallel()
	w := startGuard(t, startEngine(t, http.HandlerFunc(ping)).socket)
	paths := pki.ClientPaths(w.dir, pki.Paths{})
	report, err := engine.Run(t.Context(), engine.Options{Host: "tcp://" + w.address, CA: paths.CA, Cert: paths.Cert, Key: paths.Key})
	if err != nil {
		t.Fatal(err)
	}
	proven := 0
	for _, s := range report.Steps {
		if strings.HasSuffix(s.Name, "-refused") && s.Status == engine.Pass {
			proven++
		}
	}
	if proven != 2 {
		t.Fatalf("%d refusals were proven, want 2: %+v", proven, report.Steps)
	}
	if n := w.warnings(); n != 0 {
		t.Errorf("%d warnings about our own test", n)
	}
	w.shake(t, probePrefix+"a-guess")
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if n := w.warnings(); n != 1 {
		t.Errorf("a client that guesses the name of a test: got %d warnings, want 1", n)
	}
}

// Unauthenticated clients cannot fill the log.
func TestRefusedHandshakesDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	w := startGuard(t, startEngine(t, http.HandlerFunc(ping)).socket)
	for range 5 * refusalBurst {
		w.shake(t)
	}
	if n := w.warnings(); n < refusalBurst || n > 2*refusalBurst {
		t.Errorf("%d refused handshakes: got %d warnings, want about %d", 5*refusalBurst, n, refusalBurst)
	}
}
