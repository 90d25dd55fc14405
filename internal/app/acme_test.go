package app_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth/internal/pebbletest"
	"berth/internal/porttest"
	"berth/internal/waittest"
)

// The whole way: settings, challenges on Berth's own listeners, the certificate on the listener, commands on the machine.
func TestBerthObtainsItsCertificate(t *testing.T) {
	t.Parallel()
	httpsPort, httpPort := porttest.Free(t), porttest.Free(t)
	authority := pebbletest.Start(t, httpPort, httpsPort, 90*24*time.Hour)
	cfg := settings(t)
	cfg.Server.Listen, cfg.Server.RedirectListen = fmt.Sprintf("127.0.0.1:%d", httpsPort), fmt.Sprintf("127.0.0.1:%d", httpPort)
	cfg.Server.PublicURL = "https://berth.example"
	cfg.Server.ACMEEmail, cfg.Server.ACMECA, cfg.Server.ACMECARoot = "operator@berth.example", authority.URL, authority.Root
	b := start(t, cfg) // which needs the certificate for clients on this machine
	waittest.Until(t, "the certificate is shown", func() error {
		conn, err := tls.Dial("tcp", b.Addr().String(), &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "berth.example", InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer conn.Close()
		if leaf := conn.ConnectionState().PeerCertificates[0]; leaf.VerifyHostname("berth.example") != nil || !strings.HasPrefix(leaf.Issuer.CommonName, "Pebble") {
			t.Errorf("got a certificate of %s for %v", leaf.Issuer, leaf.DNSNames)
		}
		return nil
	})
	if res, text := b.ask(t, http.MethodGet, "/sessions", b.adminToken(t)); res.StatusCode != http.StatusOK {
		t.Errorf("a command on this machine: got %s %s", res.Status, text)
	}
	for name, fails := range map[string]bool{"ses-1.berth.example": true, "other.example": true} {
		conn, err := tls.Dial("tcp", b.Addr().String(), &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, InsecureSkipVerify: true})
		if err == nil {
			_ = conn.Close()
		}
		if (err != nil) != fails {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := b.metrics(t); !strings.Contains(got, `berth_certificate_expiry_seconds{certificate="listener"} 7.7`) {
		t.Error("the certificate's remaining validity is not measured")
	}
}
