package hostip

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func addressOf(s *httptest.Server) netip.AddrPort {
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestIsSession(t *testing.T) {
	t.Parallel()
	status := http.StatusUnauthorized
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a credential was sent to an unknown server")
		}
		w.WriteHeader(status)
	}))
	if err := IsSession(t.Context(), addressOf(s)); err != nil {
		t.Errorf("a server that asks for a credential: %v", err)
	}
	status = http.StatusNotFound
	if err := IsSession(t.Context(), addressOf(s)); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a server that answers anything: got %v, want its status", err)
	}
	at := addressOf(s)
	s.Close()
	if err := IsSession(t.Context(), at); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("no server: got %v", err)
	}
}

func TestIsEngine(t *testing.T) {
	t.Parallel()
	secure, open := httptest.NewTLSServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	defer secure.Close()
	defer open.Close()
	if err := IsEngine(t.Context(), addressOf(secure)); err != nil {
		t.Errorf("a server with TLS: %v", err)
	}
	if err := IsEngine(t.Context(), addressOf(open)); err == nil {
		t.Error("a server without TLS was accepted as an engine")
	}
}
