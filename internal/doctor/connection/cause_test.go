package connection

import (
	stdcmp "cmp"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEveryCauseHasItsOwnCode(t *testing.T) {
	t.Parallel()
	past := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().AddDate(0, -3, 0), time.Now().Add(-time.Hour)
	}
	future := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().AddDate(1, 0, 0)
	}
	soon := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().AddDate(0, -3, 0), time.Now().AddDate(0, 0, 5)
	}
	always := func(status int, version, body string) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if version != "" {
					w.Header().Set("Api-Version", version)
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	on := func(path string, status int, body string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, path) {
					next.ServeHTTP(w, r)
					return
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	for name, tc := range map[string]struct {
		engine *engine
		other  func(t *testing.T, f fixture, e *engine, o *Options) // last changes, before the engine starts
		after  func(t *testing.T, f fixture, o *Options)            // changes of files while it runs
		want   []string
	}{
		"TLS 1.2 at most":     {engine: &engine{config: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }}, want: []string{"! handshake tls-too-old"}},
		"server expired":      {engine: &engine{leaf: past}, want: []string{"! server-dates server-expired"}},
		"server in future":    {engine: &engine{leaf: future}, want: []string{"! server-dates server-not-yet-valid"}},
		"server expires soon": {engine: &engine{leaf: soon}, want: []string{"server-dates server-expires-soon"}},
		"server's other name": {
			engine: &engine{leaf: func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"other.example"}, nil }},
			want:   []string{"! server-name server-name-mismatch"},
		},
		"server without names": {
			engine: &engine{leaf: func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }},
			want:   []string{"! server-name server-name-mismatch"},
		},
		"server with a client's certificate": {
			engine: &engine{leaf: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }},
			want:   []string{"! server-usage server-wrong-usage"},
		},
		"server's certificate for both": {
			engine: &engine{leaf: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }},
			want:   []string{"server-usage server-usable-as-client"},
		},
		"server of another authority": {
			other: func(t *testing.T, _ fixture, e *engine, _ *Options) { e.authority = newAuthority(t, "theirs") },
			want:  []string{"! server-chain server-of-another-authority"},
		},
		"server expired and of another authority": {
			engine: &engine{leaf: past},
			other:  func(t *testing.T, _ fixture, e *engine, _ *Options) { e.authority = newAuthority(t, "theirs") },
			want:   []string{"! server-chain server-of-another-authority", "! server-dates server-expired"},
		},
		"client of an authority that the engine does not trust": {
			other: func(t *testing.T, _ fixture, e *engine, _ *Options) { e.clients = newAuthority(t, "theirs") },
			want:  []string{"! authenticate client-refused"},
		},
		"client expired": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				f.client(t, *o, f.ours.issue(t, x509.ExtKeyUsageClientAuth, past))
			},
			want: []string{"! client-dates client-expired", "! authenticate client-refused"},
		},
		"client in future": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				f.client(t, *o, f.ours.issue(t, x509.ExtKeyUsageClientAuth, future))
			},
			want: []string{"! client-dates client-not-yet-valid", "! authenticate client-refused"},
		},
		"client expires soon": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				f.client(t, *o, f.ours.issue(t, x509.ExtKeyUsageClientAuth, soon))
			},
			want: []string{"client-dates client-expires-soon"},
		},
		"client with a server's certificate": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				f.client(t, *o, f.ours.issue(t, x509.ExtKeyUsageServerAuth))
			},
			want: []string{"! client-usage client-wrong-usage", "! authenticate client-refused"},
		},
		"client of another authority that the engine trusts": {
			other: func(t *testing.T, f fixture, e *engine, o *Options) {
				e.clients = newAuthority(t, "for clients")
				f.client(t, *o, e.clients.issue(t, x509.ExtKeyUsageClientAuth))
			},
			want: []string{"client-chain client-of-another-authority"},
		},
		"key of another certificate": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				writeFile(t, o.Key, keyPEM(t, f.ours.issue(t, x509.ExtKeyUsageClientAuth).PrivateKey), 0o400)
			},
			want: []string{"! client-key key-mismatch"},
		},
		"key open to others": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { mustChmod(t, o.Key, 0o444) },
			want:  []string{"! client-key-permissions key-open-to-others"},
		},
		"key unreadable": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { makeUnreadable(t, o.Key) },
			want:  []string{"! client-key key-unreadable"},
		},
		"key missing": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { mustRemove(t, o.Key) },
			want:  []string{"! client-key key-missing"},
		},
		"key with a passphrase": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) {
				writeFile(t, o.Key, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o400)
			},
			want: []string{"! client-key key-malformed"},
		},
		"client certificate missing": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { mustRemove(t, o.Cert) },
			want:  []string{"! client-certificate client-missing"},
		},
		"client certificate unreadable": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { makeUnreadable(t, o.Cert) },
			want:  []string{"! client-certificate client-unreadable"},
		},
		"client certificate malformed": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { writeFile(t, o.Cert, []byte("nonsense"), 0o444) },
			want:  []string{"! client-certificate client-malformed"},
		},
		"authority missing": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { mustRemove(t, o.CA) },
			want:  []string{"! authority ca-missing"},
		},
		"authority unreadable": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) { makeUnreadable(t, o.CA) },
			want:  []string{"! authority ca-unreadable"},
		},
		"authority malformed": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) {
				writeFile(t, o.CA, []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), 0o444)
			},
			want: []string{"! authority ca-malformed"},
		},
		"authority expired": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) {
				writeFile(t, o.CA, certPEM(newAuthority(t, "old", past).cert), 0o444)
			},
			want: []string{"! authority ca-expired"},
		},
		"a leaf as authority": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				writeFile(t, o.CA, certPEM(f.ours.issue(t, x509.ExtKeyUsageClientAuth).Leaf), 0o444)
			},
			want: []string{"! authority ca-is-no-authority"},
		},
		"certificate on disk that is not loaded": {
			engine: &engine{leaf: past},
			after: func(t *testing.T, f fixture, o *Options) {
				writeFile(t, o.ServerCert, certPEM(f.ours.issue(t, x509.ExtKeyUsageServerAuth).Leaf), 0o444)
			},
			want: []string{"! server-dates server-expired", "server-file server-file-not-loaded"},
		},
		"wrong pin": {
			other: func(_ *testing.T, _ fixture, _ *engine, o *Options) { o.Pins = strings.Repeat("ab", 32) },
			want:  []string{"! server-pin pin-mismatch"},
		},
		"malformed pin": {
			other: func(_ *testing.T, _ fixture, _ *engine, o *Options) { o.Pins = "ab" },
			want:  []string{"! server-pin pin-malformed"},
		},
		"revocation list without our certificates": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) { f.revoke(t, o, time.Hour, big.NewInt(4711)) },
			want:  []string{},
		},
		"client revoked": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				f.revoke(t, o, time.Hour, leafOf(t, o.Cert).SerialNumber)
			},
			want: []string{"! revocation client-revoked"},
		},
		"server revoked": {
			engine: &engine{leaf: func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4712) }},
			other:  func(t *testing.T, f fixture, _ *engine, o *Options) { f.revoke(t, o, time.Hour, big.NewInt(4712)) },
			want:   []string{"! revocation server-revoked"},
		},
		"revocation list outdated": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) { f.revoke(t, o, -time.Hour) },
			want:  []string{"revocation crl-outdated"},
		},
		"revocation list of another authority": {
			other: func(t *testing.T, f fixture, _ *engine, o *Options) {
				f.ours = newAuthority(t, "ours")
				f.revoke(t, o, time.Hour)
			},
			want: []string{"! revocation crl-unusable"},
		},
		"revocation list malformed": {
			other: func(t *testing.T, _ fixture, _ *engine, o *Options) {
				o.CRL = filepath.Join(t.TempDir(), "crl.pem")
				writeFile(t, o.CRL, []byte("nonsense"), 0o444)
			},
			want: []string{"! revocation crl-unusable"},
		},
		"unverified": {
			other: func(_ *testing.T, _ fixture, _ *engine, o *Options) { o.Unverified = true },
			want:  []string{"server-chain server-unverified"},
		},
		"clients not verified": {
			engine: &engine{config: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }},
			want:   []string{"! foreign-certificate-refused foreign-certificate-accepted"},
		},
		"clients not demanded": {
			engine: &engine{config: func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }},
			want:   []string{"! no-certificate-refused open-to-anyone", "! foreign-certificate-refused foreign-certificate-accepted"},
		},
		"unauthenticated clients refused by HTTP": {
			engine: &engine{
				config: func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven },
				handler: func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if len(r.TLS.PeerCertificates) == 0 {
							w.WriteHeader(http.StatusForbidden)
							return
						}
						next.ServeHTTP(w, r)
					})
				},
			},
			want: []string{"no-certificate-refused refused-late"},
		},
		"engine too old": {
			engine: &engine{handler: always(200, "1.39", "OK")},
			want:   []string{"! negotiate engine-too-old"},
		},
		"no engine":     {engine: &engine{handler: always(404, "", "nothing here")}, want: []string{"! negotiate not-an-engine"}},
		"another API":   {engine: &engine{handler: always(200, "2", "OK")}, want: []string{"! negotiate not-an-engine"}},
		"denied":        {engine: &engine{handler: always(403, "", `{"message":"authorization denied by plugin opa"}`)}, want: []string{"! negotiate denied"}},
		"engine gone":   {engine: &engine{handler: always(502, "", `{"message":"the engine's socket does not exist"}`)}, want: []string{"! negotiate engine-away"}},
		"list denied":   {engine: &engine{handler: on("/containers/json", 403, "{}")}, want: []string{"! list denied"}},
		"list broken":   {engine: &engine{handler: on("/containers/json", 500, "{}")}, want: []string{"! list engine-error"}},
		"list no JSON":  {engine: &engine{handler: on("/containers/json", 200, "hello")}, want: []string{"! list not-an-engine"}},
		"ping broken":   {engine: &engine{handler: on("/v1.41/_ping", 500, "")}, want: []string{"! ping engine-error"}},
		"create denied": {engine: &engine{handler: on("/create", 403, "{}")}, want: []string{"! create denied"}},
		"image missing": {engine: &engine{handler: on("/create", 404, "{}")}, want: []string{"! create image-missing"}},
		"remove denied": {engine: &engine{handler: on("/containers/berth-check-", 500, "{}")}, want: []string{"! remove remove-failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, o := setup(t, "")
			o.Deep = true
			e := stdcmp.Or(tc.engine, &engine{})
			if tc.other != nil {
				tc.other(t, f, e, &o)
			}
			o.Host = f.start(t, e)
			if tc.after != nil {
				tc.after(t, f, &o)
			}
			r := check(t, o)
			if diff := cmp.Diff(tc.want, faults(r)); diff != "" {
				t.Errorf("warnings and failures (-want +got):\n%s\n%+v", diff, r.Steps)
			}
			for _, s := range r.Steps {
				if (s.Status == Fail || s.Status == Warn) && (s.Detail == "" || s.Remedy == "") {
					t.Errorf("step %s: detail %q, remedy %q: want both", s.Name, s.Detail, s.Remedy)
				}
				if s.Status == Skipped && (s.Code == "" || s.Detail == "") {
					t.Errorf("step %s was skipped with code %q, detail %q: want a reason", s.Name, s.Code, s.Detail)
				}
				if !regexp.MustCompile(`^[a-z0-9]*(-[a-z0-9]+)*$`).MatchString(string(s.Code)) || (s.Remedy != "") != (s.Status == Fail || s.Status == Warn) {
					t.Errorf("step %s ends with code %q, remedy %q: want a well-formed code, and a remedy for warnings and failures alone", s.Name, s.Code, s.Remedy)
				}
			}
		})
	}
}

func mustChmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func mustRemove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// makeUnreadable puts a directory in a file's place: even root cannot read that.
func makeUnreadable(t *testing.T, path string) {
	t.Helper()
	mustRemove(t, path)
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
}
