package pki

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAuthoritySignsOnlyLeaves(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, keyType := range []KeyType{ECDSA, Ed25519} {
		t.Run(string(keyType), func(t *testing.T) {
			t.Parallel()
			ca, err := NewAuthority(Request{CommonName: "ca", KeyType: keyType, Now: now, Days: 10})
			if err != nil {
				t.Fatal(err)
			}
			server, err := ca.IssueServer(Request{CommonName: "s", DNSNames: []string{"engine"}, IPs: []net.IP{net.ParseIP("::1")}, KeyType: keyType, Now: now, Days: 90})
			if err != nil {
				t.Fatal(err)
			}
			client, err := ca.IssueClient(Request{CommonName: "c", KeyType: keyType, Now: now, Days: 5})
			if err != nil {
				t.Fatal(err)
			}
			if c := ca.Certificate; !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
				t.Errorf("authority: CA %v, path length %d, key usage %b; want a CA with path length 0 that signs certificates and CRLs", c.IsCA, c.MaxPathLen, c.KeyUsage)
			}
			for name, leaf := range map[string]struct {
				cert *x509.Certificate
				want []x509.ExtKeyUsage
			}{
				"server": {server.Certificate, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
				"client": {client.Certificate, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
			} {
				if diff := cmp.Diff(leaf.want, leaf.cert.ExtKeyUsage); diff != "" {
					t.Errorf("%s: extended key usage (-want +got): %s", name, diff)
				}
				if leaf.cert.IsCA || leaf.cert.KeyUsage != x509.KeyUsageDigitalSignature {
					t.Errorf("%s: CA %v, key usage %b; want no CA, digital signature only", name, leaf.cert.IsCA, leaf.cert.KeyUsage)
				}
				if !leaf.cert.NotBefore.Before(now) {
					t.Errorf("%s begins at %s, not before %s: a peer with a slow clock would refuse it", name, leaf.cert.NotBefore, now)
				}
				if leaf.cert.NotAfter.After(ca.Certificate.NotAfter) {
					t.Errorf("%s outlives its authority: %s after %s", name, leaf.cert.NotAfter, ca.Certificate.NotAfter)
				}
				if got := leaf.cert.SerialNumber.BitLen(); got != 128 {
					t.Errorf("%s: serial number of %d bits, want 128", name, got)
				}
			}
			if server.Certificate.SerialNumber.Cmp(client.Certificate.SerialNumber) == 0 {
				t.Error("two certificates share a serial number")
			}
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca, err := NewAuthority(Request{CommonName: "ca", Now: now, Days: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.IssueServer(Request{CommonName: "s", Now: now, Days: 1}); err == nil {
		t.Error("a server certificate without any name was made; no client would accept it")
	}
	if _, err := ca.IssueClient(Request{CommonName: "c", Now: now, Days: 0}); err == nil {
		t.Error("a certificate with a life of 0 days was made")
	}
	if _, err := ca.IssueClient(Request{CommonName: "c", Now: now, Days: 1, KeyType: "rsa"}); err == nil {
		t.Error("a key of an unknown type was made")
	}
}

func TestPairNeverPrintsItsKey(t *testing.T) {
	t.Parallel()
	ca, err := NewAuthority(Request{CommonName: "ca", KeyType: Ed25519, Now: time.Now(), Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(ca)
	if err != nil {
		t.Fatal(err)
	}
	secret := fmt.Sprint(ca.Signer())[1:40]
	for name, text := range map[string]string{
		"%v":  fmt.Sprintf("%v", ca),
		"%+v": fmt.Sprintf("%+v", *ca),
		"%#v": fmt.Sprintf("%#v", ca.Pair),
		"%x":  fmt.Sprintf("%x", ca.Pair),
		"log": ca.LogValue().String(), "json": string(asJSON),
	} {
		if !strings.Contains(text, redacted) || strings.Contains(text, secret) {
			t.Errorf("%s printed %q, want no key and the mark %s", name, text, redacted)
		}
	}
}
