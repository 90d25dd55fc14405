package connection

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"berth/internal/pin"
	"berth/internal/pki"
)

const (
	adviceReload = "berth guard takes it by itself; dockerd cannot read it again and must be restarted: systemctl restart docker " +
		"(with live-restore, sessions keep running)"
	adviceReissue = "issue a new one from the same authority (berth certs renew), install it beside the engine; " + adviceReload
)

func (r *run) authority(context.Context) Step {
	if r.own.caFault.Status != "" {
		return r.own.caFault
	}
	now := r.Now()
	r.report.Authority = describe(r.own.authorities[0], now)
	var usable []string
	for _, c := range r.own.authorities {
		if !c.IsCA {
			return fail("ca-is-no-authority", "put the authority's certificate into "+r.CA+"; a server's or client's own certificate is none",
				"%s in %s may not sign certificates", c.Subject, r.CA)
		}
		if !now.After(c.NotAfter) && !now.Before(c.NotBefore) {
			usable = append(usable, c.Subject.String())
		}
	}
	if len(usable) == 0 {
		return fail("ca-expired", "make a new authority and new certificates (berth certs init --force), and install them on both ends",
			"no authority in %s is within its time; the first ends on %s", r.CA, date(r.own.authorities[0].NotAfter))
	}
	return pass("%s", strings.Join(usable, ", "))
}

// chain verifies everything but names, usages and the leaf's dates, which have their own steps.
func (r *run) chain(leaf *x509.Certificate, rest []*x509.Certificate) ([]*x509.Certificate, error) {
	at := r.Now()
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: pki.PoolOf(r.own.authorities), Intermediates: pki.PoolOf(rest), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

func (r *run) serverChain(context.Context) Step {
	leaf := r.server[0]
	chain, err := r.chain(leaf, r.server[1:])
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fail("server-of-another-authority",
			"set DOCKER_CA_CERT to the authority that signed the engine's certificate, or install a server certificate of your authority beside the engine and restart it",
			"the engine's certificate was signed by %q, which is not an authority of %s", leaf.Issuer, r.CA)
	case err != nil:
		return serverInvalid(err)
	}
	r.verified = chain
	signer := chain[len(chain)-1]
	r.report.Authority = describe(signer, r.Now())
	if r.Unverified {
		return warn("server-unverified", "set DOCKER_TLS_VERIFY=1", "signed by %s; Berth does not look at it, because DOCKER_TLS_VERIFY is off", signer.Subject)
	}
	return pass("signed by %s", signer.Subject)
}

func serverInvalid(err error) Step {
	return fail("server-certificate-invalid", "issue a new server certificate (berth certs issue --kind server), install it beside the engine and restart it",
		"the engine's certificate cannot be verified: %v", err)
}

func (r *run) serverName(context.Context) Step {
	leaf := r.server[0]
	names := strings.Join(pki.Names(leaf), ", ")
	if err := leaf.VerifyHostname(r.name); err != nil {
		if names == "" {
			names = "nothing"
		}
		return fail("server-name-mismatch", "use a name from the certificate in DOCKER_HOST, or issue one for "+r.name+
			" (berth certs issue --kind server --host "+r.name+" --out DIR) and install it beside the engine",
			"the engine's certificate is for %s, not for %s", names, r.name)
	}
	return pass("%s is among %s", r.name, names)
}

func (r *run) serverUsage(context.Context) Step {
	leaf := r.server[0]
	if !allows(leaf, x509.ExtKeyUsageServerAuth) {
		return fail("server-wrong-usage", `install server-cert.pem beside the engine, not the client's certificate; it needs the usage "TLS server"`,
			"the engine's certificate is not made for servers")
	}
	if allows(leaf, x509.ExtKeyUsageClientAuth) {
		return warn("server-usable-as-client", "issue separate certificates for server and client (berth certs init does)",
			"the engine's certificate is valid for clients, too: with its key, anyone can control the engine")
	}
	return pass("for servers only")
}

// allows reports whether a certificate may be used for usage; one without extended usages may be used for any.
func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func (r *run) serverDates(context.Context) Step {
	return r.dates(r.server[0], "server", "the certificate that the engine has loaded", adviceReissue)
}

// dates checks the validity period of a certificate; owner is the prefix of the codes.
func (r *run) dates(c *x509.Certificate, owner Code, what, renew string) Step {
	now := r.Now()
	days := describe(c, now).DaysLeft
	switch {
	case now.After(c.NotAfter):
		return fail(owner+"-expired", renew, "%s expired on %s", what, date(c.NotAfter))
	case now.Before(c.NotBefore):
		return fail(owner+"-not-yet-valid", "correct the clocks of this machine and of the engine's (timedatectl set-ntp true)",
			"%s begins on %s only; this machine has %s", what, date(c.NotBefore), date(now))
	case c.NotAfter.Sub(now) < min(soonDays*24*time.Hour, c.NotAfter.Sub(c.NotBefore)/3):
		return warn(owner+"-expires-soon", renew, "%s ends on %s, in %d days", what, date(c.NotAfter), days)
	}
	return pass("%d days left, until %s", days, date(c.NotAfter))
}

// serverFile compares the certificate in use with the file that the engine would load at its next start.
func (r *run) serverFile(context.Context) Step {
	if r.ServerCert == "" {
		return skip(notAtHand, "the engine's certificate file is not known here")
	}
	certs, err := pki.ReadCertificates(r.ServerCert)
	switch {
	case errors.Is(err, pki.ErrMissing):
		return skip(notAtHand, "there is no file %s here to compare with", r.ServerCert)
	case err != nil:
		return skip(notAtHand, "%s cannot be compared: %v", r.ServerCert, pki.Reason(err))
	case certs[0].Equal(r.server[0]):
		return pass("the engine uses the certificate in %s", r.ServerCert)
	}
	return warn("server-file-not-loaded", adviceReload, "the engine still uses a certificate that ends on %s; %s holds another one, until %s",
		date(r.server[0].NotAfter), r.ServerCert, date(certs[0].NotAfter))
}

// serverPin accepts the key of the engine or of an authority in its chain, as Berth does.
func (r *run) serverPin(context.Context) Step {
	wanted, err := pin.ParseList(r.Pins)
	switch {
	case err != nil:
		return fail("pin-malformed", "write pins as 64 hexadecimal digits or as base64", "%v", err)
	case len(wanted) == 0:
		return skip(notAskedFor, "no key is pinned (DOCKER_TLS_PIN)")
	}
	for _, c := range append(r.server[:1:1], r.verified...) {
		if slices.Contains(wanted, pin.Of(c)) {
			return pass("the key of %s is pinned", c.Subject)
		}
	}
	return fail("pin-mismatch",
		"if the engine's key was changed on purpose, add its pin to DOCKER_TLS_PIN; if not, another server answers in the engine's place: do not connect",
		"the engine's pin is %s, which is none of the %d in DOCKER_TLS_PIN", pin.Of(r.server[0]), len(wanted))
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
