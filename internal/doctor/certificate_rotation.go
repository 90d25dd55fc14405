package doctor

import (
	"context"
	"crypto/x509"
	"time"
)

// When a certificate must be replaced.
const (
	warnBefore = 30 * 24 * time.Hour
	failBefore = 7 * 24 * time.Hour
)

const adviceRenew = "renew it (berth certs renew) and bring it to where it is used; dockerd must be restarted to take it"

// certificateRotation checks that certificates are renewed in time, and that rotations of the authority are completed. The
// connection test checks that the engine has loaded the certificate in its file.
func certificateRotation(_ context.Context, o *Options) []Finding {
	now, next := o.Now(), time.Time{}
	findings := o.eachCertificateFile(func(path string, certs []*x509.Certificate) (findings []Finding) {
		authorities := 0
		for _, cert := range certs {
			if cert.IsCA {
				authorities++
			}
			if next.IsZero() || cert.NotAfter.Before(next) {
				next = cert.NotAfter
			}
			// For a short validity period the limit is a third of it: a week's certificate is not due on its first day.
			life := cert.NotAfter.Sub(cert.NotBefore)
			switch left := cert.NotAfter.Sub(now); {
			case left < min(failBefore, life/10):
				findings = append(findings, fail("renewal-late", adviceRenew, "%s ends on %s", cert.Subject, day(cert.NotAfter)))
			case left < min(warnBefore, life/3):
				findings = append(findings, warn("renewal-due", adviceRenew, "%s ends on %s", cert.Subject, day(cert.NotAfter)))
			}
		}
		if authorities > 1 {
			findings = append(findings, warn("rotation-unfinished", "continue it (berth certs rotate) once ca.pem has reached every machine that uses it; berth certs rotate --status says how far it is",
				"%d authorities are trusted at once in %s", authorities, path))
		}
		return findings
	})
	return orPass(findings, pass("in-time", "the next certificate ends on %s; docs/operating.md says how they are renewed and rotated", day(next)))
}
