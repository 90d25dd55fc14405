package app_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/pki"
	"berth/internal/porttest"
	"berth/internal/storage"
	"berth/internal/tlstest"
	"berth/internal/waittest"
)

// encrypted are settings of a listener with TLS for berth.example, whose files are in the directory that is returned.
func encrypted(t *testing.T) (cfg config.Config, a *tlstest.Authority, dir string) {
	t.Helper()
	cfg, a, dir = settings(t), tlstest.New(t), t.TempDir()
	cfg.Server.TLSCert, cfg.Server.TLSKey = tlstest.Write(t, dir, "server", a.Issue(t, time.Now(), 90, "berth.example"))
	return cfg, a, dir
}

func TestListenerSpeaksHTTP2WithTLS(t *testing.T) {
	t.Parallel()
	cfg, _, _ := encrypted(t)
	b := start(t, cfg)
	res, text := b.ask(t, http.MethodGet, "/sessions", b.adminToken(t))
	if res.Proto != "HTTP/2.0" || res.StatusCode != http.StatusOK {
		t.Errorf("got %s %s %s", res.Proto, res.Status, text)
	}
	if got := storage.AddressOf(cfg.Server.StateDir); got != "https://"+b.Addr().String() {
		t.Errorf("published address: got %q", got)
	}
	if info, err := os.Stat(filepath.Join(cfg.Server.StateDir, "address-certificates.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("published certificates: %v, %v; want a file that only its owner can write", info, err)
	}
	if status := b.call(t, http.MethodGet, "/readyz", "", nil); status != http.StatusOK {
		t.Errorf("probe: got %d", status)
	}
	if got := b.metrics(t); !strings.Contains(got, `berth_certificate_expiry_seconds{certificate="listener"} 7.7`) {
		t.Error("the certificate's remaining validity is not measured")
	}
	if _, text := b.ask(t, http.MethodGet, "/health", b.adminToken(t)); !strings.Contains(text, `"certificate":"listener"`) {
		t.Errorf("health: got %s, want the certificate in it", text)
	}
	plain, err := http.Get("http://" + b.Addr().String() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Body.Close()
	if text, _ := io.ReadAll(plain.Body); plain.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "HTTPS server") {
		t.Errorf("plain HTTP: got %s %s", plain.Status, text)
	}
}

func TestChangedCertificateIsShownAndPublished(t *testing.T) {
	t.Parallel()
	cfg, a, dir := encrypted(t)
	b := start(t, cfg)
	fresh := a.Issue(t, time.Now(), 90, "berth.example")
	tlstest.Write(t, dir, "server", fresh)
	waittest.Until(t, "the new certificate is shown", func() error {
		conn, err := tls.Dial("tcp", b.Addr().String(), a.Client("berth.example"))
		if err != nil {
			return err
		}
		defer conn.Close()
		if !conn.ConnectionState().PeerCertificates[0].Equal(fresh.Certificate) {
			return errors.New("it is still the old one")
		}
		return nil
	})
	waittest.Until(t, "the command line trusts it", func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+b.Addr().String()+"/livez", nil)
		if err != nil {
			return err
		}
		res, err := b.client(t).Do(req)
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
}

func TestFaultyCertificateStopsTheStart(t *testing.T) {
	t.Parallel()
	cfg, _, _ := encrypted(t)
	cfg.Server.TLSKey = cfg.Server.TLSCert
	_, err := app.New(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if !errors.Is(err, pki.ErrMalformed) || !strings.Contains(err.Error(), "BERTH_TLS_KEY") {
		t.Errorf("got %v, want an error that names the setting", err)
	}
	if _, err := app.Preflight(cfg); !errors.Is(err, pki.ErrMalformed) || !strings.Contains(err.Error(), "BERTH_TLS_KEY") {
		t.Errorf("preflight: got %v, want the same error", err)
	}
}

func TestPlainHTTPIsRedirected(t *testing.T) {
	t.Parallel()
	cfg, _, _ := encrypted(t)
	cfg.Server.RedirectListen = "127.0.0.1:" + strconv.Itoa(porttest.Free(t))
	b := start(t, cfg)
	_, port, _ := strings.Cut(b.Addr().String(), ":")
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, c := range []struct {
		method, host string
		status       int
	}{
		{"GET", "berth.example", 308}, {"HEAD", "BERTH.example:80", 308}, {"POST", "berth.example", 405}, {"GET", "other.example", 421},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+cfg.Server.RedirectListen+"/s/ses-1/a%2Fb?x=1&auth_token=secret", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		want := ""
		if c.status == 308 {
			want = "https://berth.example:" + port + "/s/ses-1/a%2Fb?x=1"
		}
		if got := res.Header.Get("Location"); res.StatusCode != c.status || got != want {
			t.Errorf("%s of %s: got %d to %q, want %d to %q", c.method, c.host, res.StatusCode, got, c.status, want)
		}
	}
}

func TestBrowsersAreToldToUseTLS(t *testing.T) {
	t.Parallel()
	cfg, a, _ := encrypted(t)
	var log bytes.Buffer
	b := startWith(t, cfg, slog.New(slog.NewTextHandler(&log, nil)))
	transport := &http.Transport{TLSClientConfig: a.Client("berth.example"), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for host, want := range map[string]string{
		"berth.example": "max-age=31536000", "localhost": "", "ses-1.localhost": "", "127.0.0.1": "", "[::1]:8443": "",
	} {
		for _, path := range []string{"/livez", "/s/ses-none/", "/nowhere"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+b.Addr().String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if got := res.Header.Get("Strict-Transport-Security"); got != want {
				t.Errorf("%s%s: got %q, want %q", host, path, got, want)
			}
		}
	}
}
