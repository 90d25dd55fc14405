package tlscheck

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"
)

// maxFileSize bounds what is read as a certificate file: real ones are a few kilobytes.
const maxFileSize = 1 << 20

// Certificate is what a report says of one.
type Certificate struct {
	Subject           string    `json:"subject"`
	Issuer            string    `json:"issuer"`
	Names             []string  `json:"names,omitempty"` // DNS names and addresses
	NotBefore         time.Time `json:"not_before"`
	NotAfter          time.Time `json:"not_after"`
	DaysLeft          int       `json:"days_left"`          // whole days, negative once it has expired
	FingerprintSHA256 string    `json:"fingerprint_sha256"` // of the certificate, hexadecimal
	Pin               string    `json:"pin"`                // of its public key (SPKI), as DOCKER_TLS_PIN takes it
}

func describe(c *x509.Certificate, now time.Time) *Certificate {
	whole, key := sha256.Sum256(c.Raw), pin(c)
	d := &Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: c.DNSNames,
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		DaysLeft:          int(math.Floor(c.NotAfter.Sub(now).Hours() / 24)),
		FingerprintSHA256: hex.EncodeToString(whole[:]), Pin: "sha256//" + base64.StdEncoding.EncodeToString(key[:]),
	}
	for _, ip := range c.IPAddresses {
		d.Names = append(d.Names, ip.String())
	}
	return d
}

func pin(c *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// SplitPins splits the value of DOCKER_TLS_PIN: pins separated by commas. Whether they are any is found by Run.
func SplitPins(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// parsePin reads a pin as tools write it: base64 or hexadecimal, with or without "sha256" and a separator before it.
func parsePin(text string) (found [sha256.Size]byte, ok bool) {
	bare := strings.TrimPrefix(strings.TrimSpace(text), "sha256")
	// Base64 may itself begin with slashes; only its length tells them from a separator.
	for _, separator := range []string{"//", "/", ":", ""} {
		rest, cut := strings.CutPrefix(bare, separator)
		if !cut {
			continue
		}
		raw, err := hex.DecodeString(rest)
		if err != nil {
			raw, err = base64.StdEncoding.DecodeString(rest)
		}
		if err == nil && len(raw) == sha256.Size {
			return [sha256.Size]byte(raw), true
		}
	}
	return found, false
}

// material is what the client's three files hold, and what is wrong with each; the outcomes are zero for nothing.
type material struct {
	authorities []*x509.Certificate
	leaf        *x509.Certificate
	pair        tls.Certificate // empty unless certificate and key are there and belong together
	caFault     outcome
	certFault   outcome
	keyFault    outcome
	keyMode     fs.FileMode
}

func (m material) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range m.authorities {
		pool.AddCert(c)
	}
	return pool
}

func readMaterial(o Options) material {
	var m material
	authorities, err := readCertificates(o.CA)
	m.authorities = authorities
	m.caFault = fileFault(o.CA, err, CAMissing, CAUnreadable, CAMalformed)

	chain, err := readCertificates(o.Cert)
	m.certFault = fileFault(o.Cert, err, ClientMissing, ClientUnreadable, ClientMalformed)
	if len(chain) > 0 {
		m.leaf = chain[0]
	}
	key, mode, err := readKey(o.Key)
	m.keyMode = mode
	m.keyFault = fileFault(o.Key, err, KeyMissing, KeyUnreadable, KeyMalformed)
	if m.leaf == nil || key == nil {
		return m
	}
	if !samePublicKey(m.leaf.PublicKey, key.Public()) {
		m.keyFault = fail(KeyMismatch, "%s is the key of another certificate than %s", o.Key, o.Cert)
		return m
	}
	m.pair = tls.Certificate{PrivateKey: key, Leaf: m.leaf}
	for _, c := range chain {
		m.pair.Certificate = append(m.pair.Certificate, c.Raw)
	}
	return m
}

// errMalformed is a file that can be read and does not hold what it should.
var errMalformed = errors.New("not the PEM that belongs here")

func fileFault(path string, err error, missing, unreadable, malformed Code) outcome {
	switch {
	case err == nil:
		return outcome{}
	case path == "" || errors.Is(err, fs.ErrNotExist):
		return fail(missing, "there is no file %s", path)
	case errors.Is(err, errMalformed):
		return fail(malformed, "%s: %v", path, err)
	default:
		return fail(unreadable, "%v", err)
	}
}

func readFile(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("%w: larger than %d bytes", errMalformed, maxFileSize)
	}
	return data, info.Mode(), err
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	rest, _, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errMalformed, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no certificate in it", errMalformed)
	}
	return certs, nil
}

// readKey reads a private key and the mode of its file; the mode is known also of a file that holds no key.
func readKey(path string) (crypto.Signer, fs.FileMode, error) {
	rest, mode, err := readFile(path)
	if err != nil {
		return nil, mode, err
	}
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return nil, mode, fmt.Errorf("%w: no private key in it", errMalformed)
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
			return nil, mode, fmt.Errorf("%w: the key is encrypted with a passphrase", errMalformed)
		}
		key, err := parseKey(block.Bytes)
		return key, mode, err
	}
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	return nil, fmt.Errorf("%w: the private key cannot be read", errMalformed)
}

func samePublicKey(a, b crypto.PublicKey) bool {
	x, err := x509.MarshalPKIXPublicKey(a)
	if err != nil {
		return false
	}
	y, err := x509.MarshalPKIXPublicKey(b)
	return err == nil && bytes.Equal(x, y)
}
