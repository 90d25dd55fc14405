package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"
)

// Minimum strengths, after NIST SP 800-57 and the CA/Browser Forum's rules.
const (
	minRSABits   = 2048
	goodRSABits  = 3072
	minCurveBits = 256
	maxLeafDays  = 825
)

const adviceReplace = "replace the set: berth certs init --force"

// certificateStrength checks keys, signatures and validity periods of the local certificates.
func certificateStrength(_ context.Context, o *Options) []Finding {
	seen := 0
	findings := o.eachCertificateFile(func(_ string, certs []*x509.Certificate) (findings []Finding) {
		for _, cert := range certs {
			seen++
			findings = append(findings, o.judgeCertificate(cert)...)
		}
		return findings
	})
	if seen == 0 {
		return findings
	}
	return orPass(findings, pass("strong", "%d certificates have strong keys and signatures, and are within their time", seen))
}

func (o *Options) judgeCertificate(cert *x509.Certificate) []Finding {
	var findings []Finding
	note := func(f Finding) { findings = append(findings, f) }
	key, grade := keyGrade(cert)
	switch grade {
	case Fail:
		note(fail("weak-key", adviceReplace, "%s has a weak key: %s", cert.Subject, key))
	case Warn:
		note(warn("short-key", adviceReplace, "%s has a key that is strong enough for a few years only: %s", cert.Subject, key))
	case Pass, Skipped:
	}
	// The self-signature of an authority protects nothing.
	if weakSignature(cert.SignatureAlgorithm) && !selfSigned(cert) {
		note(fail("weak-signature", adviceReplace, "%s is signed with %s", cert.Subject, cert.SignatureAlgorithm))
	}
	now := o.Now()
	switch life := cert.NotAfter.Sub(cert.NotBefore); {
	case now.After(cert.NotAfter):
		note(fail("expired", "renew it: berth certs renew", "%s expired on %s", cert.Subject, day(cert.NotAfter)))
	case now.Before(cert.NotBefore):
		note(fail("not-yet-valid", "correct the clock of this machine", "%s begins on %s only", cert.Subject, day(cert.NotBefore)))
	case !cert.IsCA && life > maxLeafDays*24*time.Hour:
		note(warn("long-life", "replace it by one with a shorter validity: berth certs renew --force --days 90", "%s is valid for %d days, and so is a stolen key",
			cert.Subject, int(life.Hours()/24)))
	}
	return findings
}

func keyGrade(cert *x509.Certificate) (string, Status) {
	switch key := cert.PublicKey.(type) {
	case ed25519.PublicKey:
		return "Ed25519", Pass
	case *ecdsa.PublicKey:
		name := fmt.Sprintf("ECDSA on %s", key.Curve.Params().Name)
		if key.Curve.Params().BitSize < minCurveBits {
			return name, Fail
		}
		return name, Pass
	case *rsa.PublicKey:
		name := fmt.Sprintf("RSA with %d bits", key.N.BitLen())
		switch {
		case key.N.BitLen() < minRSABits:
			return name, Fail
		case key.N.BitLen() < goodRSABits:
			return name, Warn
		}
		return name, Pass
	}
	return cert.PublicKeyAlgorithm.String(), Fail
}

func weakSignature(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1, x509.UnknownSignatureAlgorithm:
		return true
	default:
		return false
	}
}

func selfSigned(c *x509.Certificate) bool {
	return c.IsCA && string(c.RawSubject) == string(c.RawIssuer)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
