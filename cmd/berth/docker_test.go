package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"berth/internal/dockerd"
	"berth/internal/pki"
)

// TestSetupVerifiesEngineWithInstalledCertificates: the verification uses the certificates that the set-up installs.
func TestSetupVerifiesEngineWithInstalledCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := pki.Init(dir, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	var options dockerd.Options
	if err := (&dockerSetupTLSCmd{CertDir: dir}).readCertificates(&options); err != nil {
		t.Fatal(err)
	}
	if _, err := dockerd.New(dockerd.Machine(), options); err != nil {
		t.Errorf("the set-up does not take the options: %v", err)
	}
	for demand, want := range map[tls.ClientAuthType]string{tls.RequireAndVerifyClientCert: "", tls.VerifyClientCertIfGiven: "does not refuse"} {
		pair, err := tls.X509KeyPair(options.Server.Cert, options.Server.Key)
		if err != nil {
			t.Fatal(err)
		}
		engine := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") }))
		engine.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
		engine.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: demand, ClientCAs: x509.NewCertPool()}
		engine.TLS.ClientCAs.AppendCertsFromPEM(options.Server.CA)
		engine.StartTLS()
		answers, err := options.Verify(t.Context(), engine.Listener.Addr().String(), "localhost")
		engine.Close()
		if !answers || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("engine with %v: %v, %v; want %q", demand, answers, err, want)
		}
	}
}
