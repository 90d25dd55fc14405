package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKeysOfOtherToolsAreRead(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}})
	for name, data := range map[string][]byte{
		"EC after its parameters": append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER})...),
		"RSA":                     pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}),
	} {
		if _, err := parseKey(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: ecDER})
	if _, err := parseKey(encrypted); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("encrypted key: %v, want the passphrase mentioned", err)
	}
}

func TestHugeFileIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), CACertFile)
	if err := os.WriteFile(path, make([]byte, maxFileSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Describe(path); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want %v", err, ErrMalformed)
	}
}

func TestDescribeDir(t *testing.T) {
	t.Parallel()
	if _, err := DescribeDir(t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("empty directory: %v, want %v", err, ErrMissing)
	}
	all, err := DescribeDir(initialized(t, InitOptions{KeyType: Ed25519, ClientName: "serve"}))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, d := range all {
		kinds = append(kinds, string(d.Kind))
		if d.KeyType != "Ed25519" || len(d.FingerprintSHA256) != 64 || d.Serial == "" {
			t.Errorf("%s: key %q, fingerprint %q, serial %q", d.Path, d.KeyType, d.FingerprintSHA256, d.Serial)
		}
	}
	if got := strings.Join(kinds, " "); got != "ca server client" {
		t.Errorf("kinds %q, want %q", got, "ca server client")
	}
	if got := all[2].Subject; !strings.Contains(got, "CN=serve") {
		t.Errorf("client is %q, want the name that was asked for", got)
	}
}

// FuzzParse feeds both readers arbitrary bytes. What they accept must be whole: certificates with content, a key that signs.
func FuzzParse(f *testing.F) {
	ca, err := NewAuthority(Request{CommonName: "ca", Now: time.Now(), Days: 1})
	if err != nil {
		f.Fatal(err)
	}
	key, err := ca.KeyPEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.CertPEM())
	f.Add(key)
	f.Add(append(ca.CertPEM(), key...))
	f.Add(ca.CertPEM()[:100])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := ParseCertificates(data)
		switch {
		case err == nil && len(certs) == 0:
			t.Error("accepted a file without a certificate")
		case err != nil && !errors.Is(err, ErrMalformed):
			t.Errorf("error %v is not %v", err, ErrMalformed)
		}
		for _, cert := range certs {
			_ = describe("x", cert)
		}
		signer, err := parseKey(data)
		switch {
		case err == nil && signer.Public() == nil:
			t.Error("accepted a key without a public half")
		case err != nil && !errors.Is(err, ErrMalformed):
			t.Errorf("error %v is not %v", err, ErrMalformed)
		}
	})
}

// The pipe has no writer, and no signal ends the wait of a guard or a command that opens it.
func TestNamedPipeIsAFault(t *testing.T) {
	t.Parallel()
	for _, name := range []string{CACertFile, CRLFile, ServerCertFile, ServerKeyFile, recordsFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			path := filepath.Join(dir, name)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(path, 0o400); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := List(dir, Usage{})
				_, _, loaded := LoadServerTLS(ServerPaths(dir), ServerOptions{})
				ended <- errors.Join(err, loaded)
			}()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("the pipe was accepted as a file")
				}
			case <-time.After(10 * time.Second):
				t.Error("it waits for a writer of the pipe")
				if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
					_ = f.Close()
				}
			}
		})
	}
}
