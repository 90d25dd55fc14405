package servertls

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/atomicfile"
	"berth/internal/pki"
	"berth/internal/porttest"
	"berth/internal/tlstest"
)

func open(t *testing.T, log *bytes.Buffer, change func(*Options), pairs ...Pair) *Certificates {
	t.Helper()
	o := Options{Logger: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&o)
	}
	c, err := Open(t.Context(), pairs, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shake does a handshake and returns what the client sees.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", porttest.Handshakes(t, server).String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}

func filesOf(t *testing.T, a *tlstest.Authority, hosts ...string) Pair {
	t.Helper()
	cert, key := a.Files(t, hosts...)
	return Pair{cert, key}
}

func TestNameSelectsTheCertificate(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	var log bytes.Buffer
	c := open(t, &log, nil, filesOf(t, a, "berth.example", "127.0.0.1"), filesOf(t, a, "*.sessions.example"))
	for name, want := range map[string]string{
		"berth.example": "berth.example", "ses-1.sessions.example": "*.sessions.example", "127.0.0.1": "berth.example",
		"a.b.sessions.example": "", "other.example": "", "sessions.example": "",
	} {
		state, err := shake(t, c.TLS(), a.Client(name))
		switch {
		case want == "" && err == nil:
			t.Errorf("%s: got %v, want no certificate that is valid for it", name, state.PeerCertificates[0].DNSNames)
		case want != "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case want != "" && state.PeerCertificates[0].DNSNames[0] != want:
			t.Errorf("%s: got %v, want %s", name, state.PeerCertificates[0].DNSNames, want)
		}
		if covered := want != ""; c.Covers(name) != covered {
			t.Errorf("%s is covered: got %v, want %v", name, !covered, covered)
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}

func TestProtocolsAndSuites(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	var log bytes.Buffer
	config := open(t, &log, nil, filesOf(t, a, "berth.example")).TLS()
	for name, tc := range map[string]struct {
		change func(*tls.Config)
		proto  string // "": the handshake fails
	}{
		"HTTP/2":           {func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} }, "h2"},
		"HTTP/1.1":         {func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, "http/1.1"},
		"TLS 1.2":          {func(c *tls.Config) { c.NextProtos, c.MaxVersion = []string{"h2"}, tls.VersionTLS12 }, "h2"},
		"TLS 1.1":          {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, ""},
		"another protocol": {func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }, ""},
		"CBC": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, ""},
		"no forward secrecy": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, ""},
	} {
		client := a.Client("berth.example")
		tc.change(client)
		state, err := shake(t, config, client)
		if got := state.NegotiatedProtocol; (err == nil) != (tc.proto != "") || err == nil && got != tc.proto {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, tc.proto)
		}
	}
}

func TestFaultyPairsAreRefusedAtStart(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	good, other := filesOf(t, a, "berth.example"), filesOf(t, a, "other.example")
	authority := filepath.Join(t.TempDir(), "ca.pem")
	client, err := a.IssueClient(pki.Request{CommonName: "client", Now: time.Now(), Days: 9})
	if err != nil {
		t.Fatal(err)
	}
	clientCert, clientKey := tlstest.Write(t, t.TempDir(), "client", client)
	if err := atomicfile.Write(authority, []byte("no PEM"), 0o444, ""); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		pair Pair
		want error
		file string
	}{
		"no certificate":      {Pair{good.Cert + "x", good.Key}, pki.ErrMissing, good.Cert + "x"},
		"no key":              {Pair{good.Cert, good.Key + "x"}, pki.ErrMissing, good.Key + "x"},
		"key of another":      {Pair{good.Cert, other.Key}, pki.ErrMismatch, other.Key},
		"no PEM":              {Pair{authority, good.Key}, pki.ErrMalformed, authority},
		"swapped":             {Pair{good.Key, good.Cert}, pki.ErrMalformed, good.Key},
		"client's, nameless ": {Pair{clientCert, clientKey}, pki.ErrWrongKind, clientCert},
	} {
		_, err := Open(t.Context(), []Pair{good, tc.pair}, Options{Logger: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.file) || strings.Contains(err.Error(), "berth certs") {
			t.Errorf("%s: got %v, want %v of %s, without advice about other certificates", name, err, tc.want, tc.file)
		}
	}
	if _, err := Open(t.Context(), nil, Options{Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("no pair at all was accepted")
	}
}

func TestKeyOfEverybody(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	pair := filesOf(t, a, "berth.example")
	for mode, exposed := range map[fs.FileMode]bool{0o400: false, 0o440: false, 0o600: false, 0o444: true, 0o420: true} {
		if err := os.Chmod(pair.Key, mode); err != nil {
			t.Fatal(err)
		}
		for _, strict := range []bool{false, true} {
			var log bytes.Buffer
			_, err := Open(t.Context(), []Pair{pair}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Strict: strict})
			if refused := exposed && strict; errors.Is(err, pki.ErrKeyExposed) != refused {
				t.Errorf("mode %04o, strict %v: got %v", mode, strict, err)
			}
			if warned := strings.Contains(log.String(), "chmod 0400"); warned != (exposed && !strict) {
				t.Errorf("mode %04o, strict %v: logged %q", mode, strict, log.String())
			}
		}
	}
}

// serial is the serial number of the last certificate in use.
func serial(c *Certificates) string {
	leaves := c.Leaves()
	return leaves[len(leaves)-1].SerialNumber.String()
}

func TestChangedFilesAreTakenAndBrokenOnesAreNot(t *testing.T) {
	t.Parallel()
	a, dir := tlstest.New(t), t.TempDir()
	write := func(pair pki.Pair) (p Pair, serial string) {
		p.Cert, p.Key = tlstest.Write(t, dir, "server", pair)
		return p, pair.Certificate.SerialNumber.String()
	}
	now := time.Now()
	pair, first := write(a.Issue(t, now, 90, "berth.example"))
	var log bytes.Buffer
	changes := 0
	c := open(t, &log, func(o *Options) { o.Changed = func() { changes++ } }, filesOf(t, a, "other.example"), pair)
	step := func(name, want string, wantChanges int, says string) {
		t.Helper()
		c.reload(t.Context())
		if got := serial(c); got != want || changes != wantChanges || !strings.Contains(log.String(), says) || says == "" && log.Len() > 0 {
			t.Errorf("%s: got %s after %d changes, want %s after %d and %q in the log: %s", name, got, changes, want, wantChanges, says, log.String())
		}
		log.Reset()
	}
	step("nothing changed", first, 0, "")
	_, second := write(a.Issue(t, now, 90, "berth.example"))
	step("a new pair", second, 1, "certificate reloaded")

	if err := atomicfile.Write(pair.Cert, []byte("half a certif"), 0o444, ""); err != nil {
		t.Fatal(err)
	}
	step("a torn certificate", second, 1, "certificate reload failed, keeping the previous certificate")
	step("the same, again", second, 1, "")
	if err := os.Remove(pair.Key); err != nil {
		t.Fatal(err)
	}
	step("no key", second, 1, "keeping the previous")
	write(a.Issue(t, now.AddDate(0, 0, -90), 60, "berth.example"))
	step("one that has expired", second, 1, "certificate has expired")
	_, third := write(a.Issue(t, now, 90, "berth.example"))
	step("a good one again", third, 2, "certificate reloaded")
}

func TestExpiredCertificateIsServedAndReplaced(t *testing.T) {
	t.Parallel()
	a, dir, now := tlstest.New(t), t.TempDir(), time.Now()
	var pair Pair
	pair.Cert, pair.Key = tlstest.Write(t, dir, "server", a.Issue(t, now.AddDate(0, 0, -9), 5, "berth.example"))
	var log bytes.Buffer
	c := open(t, &log, nil, pair)
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "certificate has expired") {
		t.Errorf("logged %q, want an error about the expired certificate", log.String())
	}
	fresh := a.Issue(t, now, 90, "berth.example")
	tlstest.Write(t, dir, "server", fresh)
	c.reload(t.Context())
	if got := serial(c); got != fresh.Certificate.SerialNumber.String() {
		t.Errorf("got %s, want the new certificate", got)
	}
}

func TestExpiryIsUrgentLaterThanItsRenewal(t *testing.T) {
	t.Parallel()
	day, now := 24*time.Hour, time.Now()
	for _, tc := range []struct {
		life, left time.Duration
		want       pki.Urgency
	}{
		{90 * day, 30 * day, pki.UrgencyOK},
		{90 * day, 20 * day, pki.UrgencyWarning},
		{90 * day, 6 * day, pki.UrgencyCritical},
		{6 * day, 3 * day, pki.UrgencyOK},
		{6 * day, 1 * day, pki.UrgencyWarning},
		{6 * day, day / 2, pki.UrgencyCritical},
		{90 * day, -day, pki.UrgencyCritical},
	} {
		leaf := &x509.Certificate{NotBefore: now.Add(tc.left - tc.life), NotAfter: now.Add(tc.left)}
		if got := ExpiryOf(leaf, now).Urgency; got != tc.want {
			t.Errorf("%v of %v left: got %s, want %s", tc.left, tc.life, got, tc.want)
		}
	}
}

func TestRunTakesChangesAndReminds(t *testing.T) {
	t.Parallel()
	a, dir, now := tlstest.New(t), t.TempDir(), time.Now()
	var pair Pair
	pair.Cert, pair.Key = tlstest.Write(t, dir, "server", a.Issue(t, now.AddDate(0, 0, -80), 90, "berth.example"))
	var log bytes.Buffer
	changed := make(chan struct{}, 1)
	c := open(t, &log, func(o *Options) { o.Changed = func() { changed <- struct{}{} } }, pair)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	tlstest.Write(t, dir, "server", a.Issue(t, now, 90, "berth.example"))
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Error("a change was not taken")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "certificate expires soon") || !strings.Contains(log.String(), "certificate=listener") {
		t.Errorf("logged %q, want a reminder of the certificate that ends in ten days", log.String())
	}
}
