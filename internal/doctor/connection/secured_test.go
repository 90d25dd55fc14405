package connection

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecured checks that only the acceptance of our client and the refusal of others count.
func TestSecured(t *testing.T) {
	t.Parallel()
	late := func(answer http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if len(r.TLS.PeerCertificates) == 0 {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			answer.ServeHTTP(w, r)
		})
	}
	for _, tt := range []struct {
		name    string
		engine  *engine
		spoil   func(testing.TB, Options)
		answers bool
		says    string // of the error; empty: there is none
	}{
		{"a good one", &engine{}, nil, true, ""},
		{"our own key is open to others", &engine{}, func(t testing.TB, o Options) {
			if err := os.Chmod(o.Key, 0o644); err != nil {
				t.Fatal(err)
			}
		}, true, ""},
		{"another certificate is loaded", &engine{}, func(t testing.TB, o Options) {
			certificate, err := os.ReadFile(o.Cert)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, o.ServerCert, certificate, 0o444)
		}, false, "still uses a certificate"},
		{"our client is refused", &engine{clients: newAuthority(t, "others")}, nil, false, "refuses the client's certificate"},
		{"no engine", &engine{handler: func(http.Handler) http.Handler { return http.NotFoundHandler() }}, nil, false, "is not a Docker engine"},
		{"certificates are optional", &engine{config: func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven }}, nil, true, "does not refuse"},
		{"any certificate is accepted", &engine{config: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }}, nil, true, "does not refuse"},
		{"refused by HTTP", &engine{handler: late, config: func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven }}, nil, true, "does not refuse"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, o := setup(t, "")
			o.Host = w.start(t, tt.engine)
			if tt.spoil != nil {
				tt.spoil(t, o)
			}
			answers, err := Secured(t.Context(), o)
			if answers != tt.answers || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, %v; want %v and %q", answers, err, tt.answers, tt.says)
			}
		})
	}
	_, o := setup(t, "tcp://127.0.0.1:1")
	o.ServerCert = filepath.Join(t.TempDir(), "none")
	if answers, err := Secured(t.Context(), o); answers || err == nil {
		t.Errorf("no server: got %v, %v; want an error", answers, err)
	}
}
