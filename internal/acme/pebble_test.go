package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"

	"berth/internal/atomicfile"
	"berth/internal/pebbletest"
	"berth/internal/porttest"
	"berth/internal/waittest"
)

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// listeners are those of a Berth, which a Manager answers challenges on.
type listeners struct {
	manager           atomic.Pointer[Manager]
	https             net.Addr
	plain             *httptest.Server
	httpAddr          net.Addr
	tlsPort, httpPort int
	asked             atomic.Int64 // handshakes and requests of challenges
}

func listen(t *testing.T) *listeners {
	t.Helper()
	l := &listeners{}
	l.https = porttest.Handshakes(t, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1", acmez.ACMETLS1Protocol},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmez.ACMETLS1Protocol {
				l.asked.Add(1)
			}
			pair, err := l.manager.Load().Get(hello)
			if pair == nil && err == nil {
				err = errors.New("another host")
			}
			return pair, err
		},
	})
	l.plain = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		l.manager.Load().Challenges(http.NotFoundHandler()).ServeHTTP(w, r)
	}))
	t.Cleanup(l.plain.Close)
	l.httpAddr = l.plain.Listener.Addr()
	l.tlsPort, l.httpPort = l.https.(*net.TCPAddr).Port, l.httpAddr.(*net.TCPAddr).Port
	return l
}

// manage runs a Manager until the test ends.
func (l *listeners) manage(t *testing.T, o Options) (m *Manager, log *lockedBuffer) {
	t.Helper()
	log = new(lockedBuffer)
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Host, o.Email = "berth.example", "operator@berth.example"
	if o.Storage == "" {
		o.Storage = filepath.Join(t.TempDir(), "acme")
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l.manager.Store(m)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the manager's log:\n%s", log.String())
		}
	})
	return m, log
}

// shown waits for the certificate of a host and returns its names and its serial number.
func (l *listeners) shown(t *testing.T, host string, differs string) (names, serial string) {
	t.Helper()
	waittest.Until(t, "a certificate of "+host, func() error {
		conn, err := tls.Dial("tcp", l.https.String(), &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer conn.Close()
		leaf := conn.ConnectionState().PeerCertificates[0]
		names, serial = strings.Join(leaf.DNSNames, " "), leaf.SerialNumber.String()
		if serial == differs {
			return errors.New("it is still the previous one")
		}
		return nil
	})
	return names, serial
}

func TestCertificateIsObtainedByChallengesOnTheListeners(t *testing.T) {
	t.Parallel()
	for name, choose := range map[string]func(*Options){
		"plain HTTP": func(o *Options) { o.Listen = nil },
		"TLS":        func(o *Options) { o.Redirect = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t)
			a := pebbletest.Start(t, l.httpPort, l.tlsPort, 90*24*time.Hour)
			o := Options{CA: a.URL, CARoot: a.Root, Listen: l.https, Redirect: l.httpAddr, Storage: filepath.Join(t.TempDir(), "acme")}
			choose(&o)
			m, log := l.manage(t, o)
			if names, _ := l.shown(t, "berth.example", ""); names != "berth.example" {
				t.Errorf("got a certificate for %s", names)
			}
			if l.asked.Load() == 0 {
				t.Error("no challenge was asked for")
			}
			waittest.True(t, "the log says so", func() bool { return strings.Contains(log.String(), "certificate obtained") })
			if leaves := m.Leaves(); len(leaves) != 1 {
				t.Errorf("got %d certificates", len(leaves))
			}
			if info, err := os.Stat(o.Storage); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("storage: %v, %v", info, err)
			}
			for _, host := range []string{"other.example", "ses-1.sessions.example", ""} {
				if pair, err := m.Get(&tls.ClientHelloInfo{ServerName: host}); pair != nil || err != nil {
					t.Errorf("%q: got %v, %v; want none", host, pair, err)
				}
			}
		})
	}
}

func TestWildcardCertificateIsObtainedByTheHook(t *testing.T) {
	t.Parallel()
	l := listen(t)
	a := pebbletest.Start(t, l.httpPort, l.tlsPort, 90*24*time.Hour)
	hook := filepath.Join(t.TempDir(), "hook")
	script := "#!/bin/sh\n" + hookVariable + "=" + a.DNS + " exec " + os.Args[0] + ` "$@"` + "\n"
	if err := atomicfile.Write(hook, []byte(script), 0o755, ""); err != nil {
		t.Fatal(err)
	}
	m, log := l.manage(t, Options{CA: a.URL, CARoot: a.Root, Listen: l.https, Redirect: l.httpAddr, Sessions: "sessions.example", Hook: hook})
	_, first := l.shown(t, "ses-1.sessions.example", "")
	names, second := l.shown(t, "ses-2.sessions.example", "")
	if names != "*.sessions.example" || first != second {
		t.Errorf("got certificates for %s, want one for all sessions", names)
	}
	if names, _ := l.shown(t, "berth.example", ""); names != "berth.example" {
		t.Errorf("Berth's own: got a certificate for %s", names)
	}
	waittest.True(t, "the record is removed", func() bool { return strings.Contains(log.String(), "step=cleanup") })
	for host, want := range map[string]bool{"a.b.sessions.example": false, "sessions.example": false, ".sessions.example": false, "x.sessions.example": true} {
		if got := m.Covers(host); got != want {
			t.Errorf("%s is covered: got %v, want %v", host, got, want)
		}
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	l := listen(t)
	a := pebbletest.Start(t, l.httpPort, l.tlsPort, 20*time.Second)
	l.manage(t, Options{CA: a.URL, CARoot: a.Root, Listen: l.https, Redirect: l.httpAddr, checkEvery: time.Second})
	_, first := l.shown(t, "berth.example", "")
	if _, second := l.shown(t, "berth.example", first); second == first {
		t.Error("the certificate was not renewed")
	}
}

func TestStoredCertificateIsUsedAfterARestart(t *testing.T) {
	t.Parallel()
	l := listen(t)
	a := pebbletest.Start(t, l.httpPort, l.tlsPort, 90*24*time.Hour)
	storage := filepath.Join(t.TempDir(), "acme")
	l.manage(t, Options{CA: a.URL, CARoot: a.Root, Listen: l.https, Redirect: l.httpAddr, Storage: storage})
	_, first := l.shown(t, "berth.example", "")
	l.manage(t, Options{CA: a.URL, CARoot: "", Listen: l.https, Redirect: l.httpAddr, Storage: storage}) // which does not trust the authority
	if _, second := l.shown(t, "berth.example", ""); second != first {
		t.Error("another certificate after a restart")
	}
}
