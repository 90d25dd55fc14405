package connection

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/pki"
)

const testTimeout = 10 * time.Second

func writeFile(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}

// engine is a scripted Docker engine behind TLS. The zero value of every field is that of a good one.
type engine struct {
	authority *authority // of the server's certificate; the client trusts "ours"
	clients   *authority // trusted for its clients
	leaf      func(*x509.Certificate)
	config    func(*tls.Config)
	handler   func(http.Handler) http.Handler

	mu         sync.Mutex
	containers map[string]bool
	images     string // JSON of /images/json
}

// answer implements the parts of the API that the tests use.
func (e *engine) answer(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Server", "Docker/test (linux)")
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	switch {
	case path == "/_ping":
		_, _ = io.WriteString(w, "OK")
	case path == "/containers/json":
		_, _ = io.WriteString(w, `[{"Id":"a"},{"Id":"b"}]`)
	case path == "/images/json":
		_, _ = io.WriteString(w, e.images)
	case path == "/containers/create":
		if e.containers == nil {
			e.containers = map[string]bool{}
		}
		e.containers[r.URL.Query().Get("name")] = true
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id":"c"}`)
	case r.Method == http.MethodDelete && e.containers[strings.TrimPrefix(path, "/containers/")]:
		delete(e.containers, strings.TrimPrefix(path, "/containers/"))
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// left returns the number of containers.
func (e *engine) left() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.containers)
}

// fixture is the certificates of one installation.
type fixture struct {
	ours *authority
	dir  string
}

// setup makes our authority and the client's files, and options that test the given host with them.
func setup(t testing.TB, host string) (fixture, Options) {
	t.Helper()
	f := fixture{ours: newAuthority(t, "ours"), dir: t.TempDir()}
	o := Options{
		Host: host, Timeout: testTimeout,
		CA: filepath.Join(f.dir, "ca.pem"), Cert: filepath.Join(f.dir, "client-cert.pem"), Key: filepath.Join(f.dir, "client-key.pem"),
		ServerCert: filepath.Join(f.dir, "server-cert.pem"),
	}
	writeFile(t, o.CA, certPEM(f.ours.cert), 0o444)
	f.client(t, o, f.ours.issue(t, x509.ExtKeyUsageClientAuth))
	return f, o
}

// client writes a client's pair.
func (f fixture) client(t testing.TB, o Options, pair tls.Certificate) {
	t.Helper()
	writeFile(t, o.Cert, certPEM(pair.Leaf), 0o444)
	writeFile(t, o.Key, keyPEM(t, pair.PrivateKey), 0o400)
}

// revoke writes a list of our authority that is valid for the given time.
func (f fixture) revoke(t testing.TB, o *Options, good time.Duration, serials ...*big.Int) {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(good)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: s, RevocationTime: template.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, f.ours.cert, f.ours.key)
	if err != nil {
		t.Fatal(err)
	}
	o.CRL = filepath.Join(t.TempDir(), "crl.pem")
	writeFile(t, o.CRL, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o444)
}

func leafOf(t testing.TB, path string) *x509.Certificate {
	t.Helper()
	certs, err := pki.ReadCertificates(path)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

// start runs a scripted engine, writes its certificate to the server's file, and returns its host.
func (f fixture) start(t testing.TB, e *engine) string {
	t.Helper()
	if e.authority == nil {
		e.authority = f.ours
	}
	if e.clients == nil {
		e.clients = f.ours
	}
	if e.leaf == nil {
		e.leaf = func(*x509.Certificate) {}
	}
	if e.images == "" {
		e.images = `[{"Id":"sha256:1"}]`
	}
	pair := e.authority.issue(t, x509.ExtKeyUsageServerAuth, e.leaf)
	writeFile(t, filepath.Join(f.dir, "server-cert.pem"), certPEM(pair.Leaf), 0o444)
	clients := x509.NewCertPool()
	clients.AddCert(e.clients.cert)
	config := &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS12,
	}
	if e.config != nil {
		e.config(config)
	}
	var handler http.Handler = http.HandlerFunc(e.answer)
	if e.handler != nil {
		handler = e.handler(handler)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return "tcp://" + server.Listener.Addr().String()
}

// listen passes every connection to the given function, which need not close it.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				serve(conn)
				conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		listener.Close()
		served.Wait()
	})
	return "tcp://" + listener.Addr().String()
}

func check(t testing.TB, o Options) Report {
	t.Helper()
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	return report
}

// faults lists "step code" of the warnings and failures, the latter marked by "!".
func faults(r Report) []string {
	all := []string{}
	for _, s := range r.Steps {
		switch s.Status {
		case Fail:
			all = append(all, fmt.Sprintf("! %s %s", s.Name, s.Code))
		case Warn:
			all = append(all, fmt.Sprintf("%s %s", s.Name, s.Code))
		case Pass, Skipped:
		}
	}
	return all
}

func stepOf(t testing.TB, r Report, name string) Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("the report has no step %q: %+v", name, r.Steps)
	return Step{}
}
