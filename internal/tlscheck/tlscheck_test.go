package tlscheck

import (
	stdcmp "cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAGoodEngineIsReportedInFull(t *testing.T) {
	t.Parallel()
	w, o := setup(t, "")
	e := &engine{}
	o.Host, o.Deep = w.start(t, e), true
	r := check(t, o)
	if got := faults(r); len(got) != 0 || r.Status != Pass {
		t.Fatalf("a good engine: got status %s, faults %q; want none", r.Status, got)
	}
	if _, failed := r.FirstFailure(); failed {
		t.Error("FirstFailure of a good report: got one")
	}
	for _, name := range []string{stepCreate, stepRemove, stepNoCertificate, stepForeign, stepServerFile} {
		if s := stepOf(t, r, name); s.Status != Pass {
			t.Errorf("%s: got %s %s (%s), want pass", name, s.Status, s.Code, s.Detail)
		}
	}
	if e.left() != 0 {
		t.Errorf("the throw-away container is still there")
	}
	got := []any{r.TLSVersion, r.Cipher != "", r.APIVersion, r.Engine, r.Server.DaysLeft, r.Server.Names, r.Authority.Subject, r.Client.Subject}
	want := []any{"TLS 1.3", true, "1.41", "Docker/test (linux)", 89, []string{"localhost", "127.0.0.1"}, "CN=ours", "CN=test"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the report says (-want +got):\n%s", diff)
	}
	if l := r.Latency; l.ConnectMS <= 0 || l.HandshakeMS <= 0 || l.PingMS <= 0 {
		t.Errorf("latencies: got %+v, want all measured", l)
	}
	if s := stepOf(t, r, stepServerPin); s.Status != Skipped || s.Code != NotAskedFor {
		t.Errorf("pins that nobody set: got %s %s, want skipped", s.Status, s.Code)
	}
}

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
		other  func(t *testing.T, w world, e *engine, o *Options) // last changes, before the engine starts
		after  func(t *testing.T, w world, o *Options)            // changes of files while it runs
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
			other: func(t *testing.T, _ world, e *engine, _ *Options) { e.authority = newAuthority(t, "theirs") },
			want:  []string{"! server-chain server-of-another-authority"},
		},
		"server expired and of another authority": {
			engine: &engine{leaf: past},
			other:  func(t *testing.T, _ world, e *engine, _ *Options) { e.authority = newAuthority(t, "theirs") },
			want:   []string{"! server-chain server-of-another-authority", "! server-dates server-expired"},
		},
		"client of an authority that the engine does not trust": {
			other: func(t *testing.T, _ world, e *engine, _ *Options) { e.clients = newAuthority(t, "theirs") },
			want:  []string{"! authenticate client-refused"},
		},
		"client expired": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				w.client(t, *o, w.ours.issue(t, x509.ExtKeyUsageClientAuth, past))
			},
			want: []string{"! client-dates client-expired", "! authenticate client-refused"},
		},
		"client in future": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				w.client(t, *o, w.ours.issue(t, x509.ExtKeyUsageClientAuth, future))
			},
			want: []string{"! client-dates client-not-yet-valid", "! authenticate client-refused"},
		},
		"client expires soon": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				w.client(t, *o, w.ours.issue(t, x509.ExtKeyUsageClientAuth, soon))
			},
			want: []string{"client-dates client-expires-soon"},
		},
		"client with a server's certificate": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				w.client(t, *o, w.ours.issue(t, x509.ExtKeyUsageServerAuth))
			},
			want: []string{"! client-usage client-wrong-usage", "! authenticate client-refused"},
		},
		"client of another authority that the engine trusts": {
			other: func(t *testing.T, w world, e *engine, o *Options) {
				e.clients = newAuthority(t, "for clients")
				w.client(t, *o, e.clients.issue(t, x509.ExtKeyUsageClientAuth))
			},
			want: []string{"client-chain client-of-another-authority"},
		},
		"key of another certificate": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				writeFile(t, o.Key, keyPEM(t, w.ours.issue(t, x509.ExtKeyUsageClientAuth).PrivateKey), 0o400)
			},
			want: []string{"! client-key key-mismatch"},
		},
		"key open to others": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { mustChmod(t, o.Key, 0o444) },
			want:  []string{"! client-key-permissions key-open-to-others"},
		},
		"key unreadable": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { makeUnreadable(t, o.Key) },
			want:  []string{"! client-key key-unreadable"},
		},
		"key missing": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { mustRemove(t, o.Key) },
			want:  []string{"! client-key key-missing"},
		},
		"key with a passphrase": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) {
				writeFile(t, o.Key, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o400)
			},
			want: []string{"! client-key key-malformed"},
		},
		"client certificate missing": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { mustRemove(t, o.Cert) },
			want:  []string{"! client-certificate client-missing"},
		},
		"client certificate unreadable": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { makeUnreadable(t, o.Cert) },
			want:  []string{"! client-certificate client-unreadable"},
		},
		"client certificate malformed": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { writeFile(t, o.Cert, []byte("nonsense"), 0o444) },
			want:  []string{"! client-certificate client-malformed"},
		},
		"authority missing": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { mustRemove(t, o.CA) },
			want:  []string{"! authority ca-missing"},
		},
		"authority unreadable": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) { makeUnreadable(t, o.CA) },
			want:  []string{"! authority ca-unreadable"},
		},
		"authority malformed": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) {
				writeFile(t, o.CA, []byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), 0o444)
			},
			want: []string{"! authority ca-malformed"},
		},
		"authority expired": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) {
				writeFile(t, o.CA, certPEM(newAuthority(t, "old", past).cert), 0o444)
			},
			want: []string{"! authority ca-expired"},
		},
		"a leaf as authority": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				writeFile(t, o.CA, certPEM(w.ours.issue(t, x509.ExtKeyUsageClientAuth).Leaf), 0o444)
			},
			want: []string{"! authority ca-is-no-authority"},
		},
		"certificate on disk that is not loaded": {
			engine: &engine{leaf: past},
			after: func(t *testing.T, w world, o *Options) {
				writeFile(t, o.ServerCert, certPEM(w.ours.issue(t, x509.ExtKeyUsageServerAuth).Leaf), 0o444)
			},
			want: []string{"! server-dates server-expired", "server-file server-file-not-loaded"},
		},
		"wrong pin": {
			other: func(_ *testing.T, _ world, _ *engine, o *Options) { o.Pins = []string{strings.Repeat("ab", 32)} },
			want:  []string{"! server-pin pin-mismatch"},
		},
		"malformed pin": {
			other: func(_ *testing.T, _ world, _ *engine, o *Options) { o.Pins = []string{"ab"} },
			want:  []string{"! server-pin pin-malformed"},
		},
		"revocation list that revokes nobody here": {
			other: func(t *testing.T, w world, _ *engine, o *Options) { w.revoke(t, o, time.Hour, big.NewInt(4711)) },
			want:  []string{},
		},
		"client revoked": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				w.revoke(t, o, time.Hour, leafOf(t, o.Cert).SerialNumber)
			},
			want: []string{"! revocation client-revoked"},
		},
		"server revoked": {
			engine: &engine{leaf: func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4712) }},
			other:  func(t *testing.T, w world, _ *engine, o *Options) { w.revoke(t, o, time.Hour, big.NewInt(4712)) },
			want:   []string{"! revocation server-revoked"},
		},
		"revocation list outdated": {
			other: func(t *testing.T, w world, _ *engine, o *Options) { w.revoke(t, o, -time.Hour) },
			want:  []string{"revocation crl-outdated"},
		},
		"revocation list of another authority": {
			other: func(t *testing.T, w world, _ *engine, o *Options) {
				w.ours = newAuthority(t, "ours")
				w.revoke(t, o, time.Hour)
			},
			want: []string{"! revocation crl-unusable"},
		},
		"revocation list malformed": {
			other: func(t *testing.T, _ world, _ *engine, o *Options) {
				o.CRL = filepath.Join(t.TempDir(), "crl.pem")
				writeFile(t, o.CRL, []byte("nonsense"), 0o444)
			},
			want: []string{"! revocation crl-unusable"},
		},
		"unverified": {
			other: func(_ *testing.T, _ world, _ *engine, o *Options) { o.Unverified = true },
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
		"strangers refused by HTTP": {
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
		"engine away":   {engine: &engine{handler: always(502, "", `{"message":"the engine's socket does not exist"}`)}, want: []string{"! negotiate engine-away"}},
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
			w, o := setup(t, "")
			o.Deep = true
			e := stdcmp.Or(tc.engine, &engine{})
			if tc.other != nil {
				tc.other(t, w, e, &o)
			}
			o.Host = w.start(t, e)
			if tc.after != nil {
				tc.after(t, w, &o)
			}
			r := check(t, o)
			if diff := cmp.Diff(tc.want, faults(r)); diff != "" {
				t.Errorf("warnings and failures (-want +got):\n%s\n%+v", diff, r.Steps)
			}
			for _, s := range r.Steps {
				if (s.Status == Fail || s.Status == Warn) && (s.Detail == "" || s.Remedy == "" || strings.ContainsAny(s.Remedy, "{}")) {
					t.Errorf("step %s: detail %q, remedy %q: want both, without a name left in braces", s.Name, s.Detail, s.Remedy)
				}
				if s.Status == Skipped && (s.Code == "" || s.Detail == "") {
					t.Errorf("step %s was skipped with code %q, detail %q: want a reason", s.Name, s.Code, s.Detail)
				}
			}
		})
	}
}

func TestWhatIsNoTLSServerIsNamed(t *testing.T) {
	t.Parallel()
	closed := listen(t, func(net.Conn) {})
	for name, tc := range map[string]struct {
		host func(t *testing.T) string
		want string
	}{
		"plain HTTP": {func(t *testing.T) string {
			return listen(t, func(c net.Conn) {
				_, _ = c.Read(make([]byte, 1))
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
				_, _ = io.Copy(io.Discard, c)
			})
		}, "! handshake not-tls"},
		"silence": {func(t *testing.T) string {
			return listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		}, "! handshake handshake-timeout"},
		"a closed door": {func(*testing.T) string { return closed }, "! handshake handshake-closed"},
		"nobody": {func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return "tcp://" + l.Addr().String()
		}, "! connect connection-refused"},
		"an unwilling server": {func(t *testing.T) string {
			w, _ := setup(t, "")
			return w.start(t, &engine{config: func(c *tls.Config) {
				c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
			}})
		}, "! handshake handshake-refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, o := setup(t, tc.host(t))
			o.Timeout = 500 * time.Millisecond
			r := check(t, o)
			if diff := cmp.Diff([]string{tc.want}, faults(r)); diff != "" {
				t.Errorf("warnings and failures (-want +got):\n%s", diff)
			}
			if s := stepOf(t, r, stepPing); s.Status != Skipped || s.Code != EarlierFailure {
				t.Errorf("ping: got %s %s, want skipped because of the failure", s.Status, s.Code)
			}
			if s, ok := r.FirstFailure(); !ok || r.Status != Fail || !strings.Contains(tc.want, s.Name) {
				t.Errorf("FirstFailure: got %q, status %s", s.Name, r.Status)
			}
		})
	}
}

func TestAHandshakeThatLeadsNowhereIsNamed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve func(*tls.Conn)
		want  string
	}{
		"no answer": {func(c *tls.Conn) { _, _ = io.Copy(io.Discard, c) }, "! authenticate no-answer"},
		"hang-up":   {func(c *tls.Conn) { _, _ = c.Read(make([]byte, 1)) }, "! authenticate closed-unanswered"},
		"no HTTP": {func(c *tls.Conn) {
			_, _ = c.Read(make([]byte, 1024))
			_, _ = io.WriteString(c, "220 mail ready\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, "! authenticate not-an-engine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, o := setup(t, "")
			clients := x509.NewCertPool()
			clients.AddCert(w.ours.cert)
			config := &tls.Config{
				Certificates: []tls.Certificate{w.ours.issue(t, x509.ExtKeyUsageServerAuth)},
				ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS13,
			}
			o.Host = listen(t, func(c net.Conn) {
				conn := tls.Server(c, config)
				if conn.Handshake() == nil {
					tc.serve(conn)
				}
			})
			o.Timeout = time.Second
			if diff := cmp.Diff([]string{tc.want}, faults(check(t, o))); diff != "" {
				t.Errorf("warnings and failures (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamesThatDoNotResolve(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"! resolve name-unknown":    &net.DNSError{Err: "no such host", Name: "engine.example", IsNotFound: true},
		"! resolve resolver-failed": &net.DNSError{Err: "server misbehaving", Name: "engine.example", IsTemporary: true},
	} {
		_, o := setup(t, "tcp://engine.example")
		o.LookupHost = func(context.Context, string) ([]string, error) { return nil, err }
		r := check(t, o)
		if diff := cmp.Diff([]string{want}, faults(r)); diff != "" {
			t.Errorf("%v: warnings and failures (-want +got):\n%s", err, diff)
		}
		if s := stepOf(t, r, stepResolve); !strings.Contains(s.Detail+s.Remedy, "engine.example") && want != "! resolve resolver-failed" {
			t.Errorf("%v: neither %q nor %q names the host", err, s.Detail, s.Remedy)
		}
	}
}

func TestTheNextAddressOfANameIsTried(t *testing.T) {
	t.Parallel()
	w, o := setup(t, "")
	host := w.start(t, &engine{})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(host, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	o.Host = "tcp://localhost:" + port
	o.LookupHost = func(context.Context, string) ([]string, error) { return []string{"127.0.0.99", "127.0.0.1"}, nil }
	r := check(t, o)
	if r.Status != Pass || r.Address != "127.0.0.1:"+port {
		t.Errorf("got %s by %q, faults %q; want pass by the second address", r.Status, r.Address, faults(r))
	}
}

func TestFaultsOfConnectionsAreToldApart(t *testing.T) {
	t.Parallel()
	for want, err := range map[Code]error{
		ConnectionRefused: syscall.ECONNREFUSED,
		NoRoute:           syscall.EHOSTUNREACH,
		ConnectionTimeout: os.ErrDeadlineExceeded,
		ConnectionFailed:  syscall.EACCES,
	} {
		if got := connectionFault(&net.OpError{Op: "dial", Err: err}); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
	if got := connectionFault(fmt.Errorf("dial: %w", syscall.ENETUNREACH)); got != NoRoute {
		t.Errorf("network unreachable: got %s, want %s", got, NoRoute)
	}
}

func TestAContainerIsMadeOnlyWhenAskedForAndPossible(t *testing.T) {
	t.Parallel()
	w, o := setup(t, "")
	o.Host = w.start(t, &engine{images: "[]"})
	if s := stepOf(t, check(t, o), stepCreate); s.Status != Skipped || s.Code != NotAskedFor {
		t.Errorf("without Deep: got %s %s", s.Status, s.Code)
	}
	o.Deep = true
	if s := stepOf(t, check(t, o), stepCreate); s.Status != Skipped || s.Code != NoImage {
		t.Errorf("on an engine without images: got %s %s", s.Status, s.Code)
	}
	o.Image = "busybox"
	if s := stepOf(t, check(t, o), stepCreate); s.Status != Pass || !strings.Contains(s.Detail, "busybox") {
		t.Errorf("with an image of one's own: got %s %s %s", s.Status, s.Code, s.Detail)
	}
}

func TestPinsAreReadInEveryCommonForm(t *testing.T) {
	t.Parallel()
	w, o := setup(t, "")
	o.Host = w.start(t, &engine{})
	first := check(t, o)
	text := first.Server.Pin
	shown, ok := parsePin(text)
	if !ok {
		t.Fatalf("the report's own pin %q cannot be read", text)
	}
	digits := hex.EncodeToString(shown[:])
	for _, form := range []string{text, digits, strings.ToUpper(digits), "sha256:" + digits, "sha256/" + encode(shown[:]), encode(shown[:]), first.Authority.Pin} {
		o.Pins = []string{strings.Repeat("00", 32), form}
		if s := stepOf(t, check(t, o), stepServerPin); s.Status != Pass {
			t.Errorf("pin %q: got %s %s, want pass", form, s.Status, s.Detail)
		}
	}
}

func TestPinsMayBeginWithSlashes(t *testing.T) {
	t.Parallel()
	for first := range byte(255) {
		want := [32]byte{first, 255, 255}
		if first > 250 {
			want = [32]byte{255, 255, 255} // "////" in base64
		}
		for _, prefix := range []string{"", "sha256/", "sha256//", "sha256:"} {
			if got, ok := parsePin(prefix + encode(want[:])); !ok || got != want {
				t.Errorf("pin %q: got %x, %t", prefix+encode(want[:]), got, ok)
			}
		}
	}
}

func TestHostsThatCannotBeTested(t *testing.T) {
	t.Parallel()
	for host, socket := range map[string]bool{
		"unix:///var/run/docker.sock": true, "": false, "127.0.0.1:2376": false, "tcp://": false, "tcp://a/b": false,
		"tcp://u:p@a": false, "ftp://a": false, "tcp://%zz": false,
	} {
		_, err := Run(t.Context(), Options{Host: host})
		if err == nil || errors.Is(err, ErrNoTLS) != socket {
			t.Errorf("host %q: got %v, want an error, ErrNoTLS: %t", host, err, socket)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("host %q: the error %v shows a password", host, err)
		}
	}
	if _, port, err := endpoint("tcp://engine"); err != nil || port != "2376" {
		t.Errorf("a host without a port: got port %q, %v; want 2376", port, err)
	}
	if _, err := Run(t.Context(), Options{Host: "tcp://a", Timeout: -1}); err == nil {
		t.Error("a negative time-out was accepted")
	}
}

func TestATestCanBeEnded(t *testing.T) {
	t.Parallel()
	_, o := setup(t, listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	o.LookupHost = func(context.Context, string) ([]string, error) { return nil, nil }
	timer := time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	defer timer.Stop()
	if _, err := Run(ctx, o); !errors.Is(err, reason) {
		t.Errorf("got %v, want the reason of the end", err)
	}
}

func TestAContainerIsRemovedAlsoWhenTheTestIsEnded(t *testing.T) {
	t.Parallel()
	w, o := setup(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	e := &engine{}
	e.handler = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(rw, r)
			if strings.Contains(r.URL.Path, "/create") {
				cancel()
			}
		})
	}
	o.Host, o.Deep = w.start(t, e), true
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if e.left() != 0 {
		t.Error("the container was left behind")
	}
}

// TestEveryCodeIsWellFormedAndHasARemedy also finds codes that no constant has any more.
func TestEveryCodeIsWellFormedAndHasARemedy(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("code.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := regexp.MustCompile(`(?m)^\t\w+ +Code = "([a-z0-9-]+)"$`).FindAllStringSubmatch(string(source), -1)
	skipped := map[Code]bool{EarlierFailure: true, NotAskedFor: true, NotAtHand: true, NotProven: true, NoImage: true}
	for _, c := range constants {
		if code := Code(c[1]); (Remedy(code) != "") == skipped[code] {
			t.Errorf("code %s: remedy %q; want one unless it is of skipped steps", code, Remedy(code))
		}
	}
	if got, want := len(constants), len(Codes())+len(skipped); got != want {
		t.Errorf("%d constants, %d codes: want them to be the same", got, want)
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
