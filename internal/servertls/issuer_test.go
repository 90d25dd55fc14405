package servertls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"berth/internal/tlstest"
)

// fakeIssuer has a certificate for one host, and none yet for another.
type fakeIssuer struct {
	pair    *tls.Certificate
	pending string
}

func (f *fakeIssuer) Covers(host string) bool {
	return host == f.pending || f.pair.Leaf.VerifyHostname(host) == nil
}

func (f *fakeIssuer) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	switch {
	case hello.ServerName == f.pending:
		return nil, errors.New("not obtained yet")
	case hello.ServerName != "" && f.Covers(hello.ServerName):
		return f.pair, nil
	}
	return nil, nil
}

func (f *fakeIssuer) Leaves() []*x509.Certificate { return []*x509.Certificate{f.pair.Leaf} }

func (*fakeIssuer) Protocol() string { return "challenge/1" }

func TestIssuerHasTheCertificatesThatFilesHaveNot(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	issuer := &fakeIssuer{pair: &a.Server(t, []string{"issued.example"}).Certificates[0], pending: "pending.example"}
	files := filesOf(t, a, "file.example")
	for _, tc := range []struct {
		pairs []Pair
		name  string
		want  string // name in the certificate; "": the handshake fails
	}{
		{nil, "issued.example", "issued.example"},
		{nil, "pending.example", ""},
		{nil, "other.example", ""},
		{nil, "", "localhost"},
		{nil, "localhost", "localhost"},
		{nil, "ses-1.localhost", "localhost"},
		{[]Pair{files}, "file.example", "file.example"},
		{[]Pair{files}, "issued.example", "issued.example"},
		{[]Pair{files}, "pending.example", ""},
		{[]Pair{files}, "", "file.example"},
		{[]Pair{files}, "other.example", "file.example"},
	} {
		var log bytes.Buffer
		c := open(t, &log, func(o *Options) { o.Issuer = issuer }, tc.pairs...)
		state, err := shake(t, c.TLS(), &tls.Config{ServerName: tc.name, InsecureSkipVerify: true})
		got := ""
		if err == nil {
			got = state.PeerCertificates[0].DNSNames[0]
		}
		if got != tc.want {
			t.Errorf("%q with %d pairs: got a certificate for %q, %v; want %q", tc.name, len(tc.pairs), got, err, tc.want)
		}
		if tc.name == "" { // as commands on this machine do
			client, err := TrustOnly(Encode(c.Published()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := shake(t, c.TLS(), client); err != nil {
				t.Errorf("a client on this machine with %d pairs: %v", len(tc.pairs), err)
			}
		}
	}
}

func TestChallengesAreTheIssuersOnly(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	issuer := &fakeIssuer{pair: &a.Server(t, []string{"issued.example"}).Certificates[0]}
	var log bytes.Buffer
	c := open(t, &log, func(o *Options) { o.Issuer = issuer }, filesOf(t, a, "file.example"))
	for name, answered := range map[string]bool{"issued.example": true, "file.example": false, "localhost": false} {
		state, err := shake(t, c.TLS(), &tls.Config{ServerName: name, NextProtos: []string{"challenge/1"}, InsecureSkipVerify: true})
		if (err == nil) != answered || err == nil && state.NegotiatedProtocol != "challenge/1" {
			t.Errorf("%s: got %v, want an answer: %v", name, err, answered)
		}
	}
	if !c.Covers("issued.example") || !c.Covers("file.example") || c.Covers("localhost") {
		t.Error("covered hosts are not those of files and of the issuer")
	}
	if got := len(c.Expiries()); got != 2 {
		t.Errorf("got %d expiries, want that of the file and that of the issuer", got)
	}
	if strings.Contains(log.String(), "ERROR") {
		t.Error(log.String())
	}
}
