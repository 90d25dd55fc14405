package tlscheck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

func (r *run) authority(context.Context) outcome {
	if r.own.caFault.status != "" {
		return r.own.caFault
	}
	now := r.Now()
	r.report.Authority = describe(r.own.authorities[0], now)
	var usable []string
	for _, c := range r.own.authorities {
		if !c.IsCA {
			return fail(NotAnAuthority, "%s in %s may not sign certificates", c.Subject, r.CA)
		}
		if !now.After(c.NotAfter) && !now.Before(c.NotBefore) {
			usable = append(usable, c.Subject.String())
		}
	}
	if len(usable) == 0 {
		return fail(CAExpired, "no authority in %s is within its time; the first ends on %s", r.CA, date(r.own.authorities[0].NotAfter))
	}
	return pass("%s", strings.Join(usable, ", "))
}

// chain verifies everything but names, usages and the leaf's own dates, which have steps of their own.
func (r *run) chain(leaf *x509.Certificate, rest []*x509.Certificate) ([]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range rest {
		between.AddCert(c)
	}
	at := r.Now()
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: r.own.pool(), Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

func (r *run) serverChain(context.Context) outcome {
	leaf := r.server[0]
	chain, err := r.chain(leaf, r.server[1:])
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fail(ServerUnknownAuthority, "the engine's certificate was signed by %q, which is not an authority of %s", leaf.Issuer, r.CA)
	case err != nil:
		return fail(ServerInvalid, "the engine's certificate cannot be verified: %v", err)
	}
	r.vouched = chain
	signer := chain[len(chain)-1]
	r.report.Authority = describe(signer, r.Now())
	if r.Unverified {
		return warn(Unverified, "signed by %s; Berth does not look at it, because DOCKER_TLS_VERIFY is off", signer.Subject)
	}
	return pass("signed by %s", signer.Subject)
}

func (r *run) serverName(context.Context) outcome {
	leaf := r.server[0]
	names := strings.Join(describe(leaf, r.Now()).Names, ", ")
	if err := leaf.VerifyHostname(r.name); err != nil {
		if names == "" {
			names = "nothing"
		}
		return fail(ServerNameMismatch, "the engine's certificate is for %s, not for %s", names, r.name)
	}
	return pass("%s is among %s", r.name, names)
}

func (r *run) serverUsage(context.Context) outcome {
	leaf := r.server[0]
	if !allows(leaf, x509.ExtKeyUsageServerAuth) {
		return fail(ServerWrongUsage, "the engine's certificate is not made for servers")
	}
	if allows(leaf, x509.ExtKeyUsageClientAuth) {
		return warn(ServerAlsoClient, "the engine's certificate is good for clients, too: whoever steals its key can command the engine")
	}
	return pass("for servers only")
}

// allows reports whether a certificate may be used so; one without extended usages may be used for anything.
func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func (r *run) serverDates(context.Context) outcome {
	return r.dates(r.server[0], "the certificate that the engine has loaded", ServerExpired, ServerNotYetValid, ServerExpiresSoon)
}

func (r *run) clientDates(context.Context) outcome {
	return r.dates(r.own.leaf, "the client's certificate", ClientExpired, ClientNotYetValid, ClientExpiresSoon)
}

func (r *run) dates(c *x509.Certificate, what string, expired, early, soon Code) outcome {
	now := r.Now()
	days := describe(c, now).DaysLeft
	switch {
	case now.After(c.NotAfter):
		return fail(expired, "%s expired on %s", what, date(c.NotAfter))
	case now.Before(c.NotBefore):
		return fail(early, "%s begins on %s only; this machine has %s", what, date(c.NotBefore), date(now))
	case c.NotAfter.Sub(now) < min(soonDays*24*time.Hour, c.NotAfter.Sub(c.NotBefore)/3):
		return warn(soon, "%s ends on %s, in %d days", what, date(c.NotAfter), days)
	}
	return pass("%d days left, until %s", days, date(c.NotAfter))
}

// serverFile compares the certificate in use with the file that the next start of the engine would take.
func (r *run) serverFile(context.Context) outcome {
	if r.ServerCert == "" {
		return skip(NotAtHand, "the engine's certificate file is not known here")
	}
	certs, err := readCertificates(r.ServerCert)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return skip(NotAtHand, "there is no file %s here to compare with", r.ServerCert)
	case err != nil:
		return skip(NotAtHand, "%s cannot be compared: %v", r.ServerCert, err)
	case bytes.Equal(certs[0].Raw, r.server[0].Raw):
		return pass("the engine uses the certificate in %s", r.ServerCert)
	}
	return warn(ServerFileDiffers, "the engine still uses a certificate that ends on %s; %s holds another one, until %s",
		date(r.server[0].NotAfter), r.ServerCert, date(certs[0].NotAfter))
}

// serverPin accepts the key of the engine or of an authority that vouches for it, as Berth does.
func (r *run) serverPin(context.Context) outcome {
	if len(r.Pins) == 0 {
		return skip(NotAskedFor, "no key is pinned (DOCKER_TLS_PIN)")
	}
	keys := map[[sha256.Size]byte]*x509.Certificate{pin(r.server[0]): r.server[0]}
	for _, c := range r.vouched {
		keys[pin(c)] = c
	}
	for _, text := range r.Pins {
		wanted, ok := parsePin(text)
		if !ok {
			return fail(PinMalformed, "the pin %q is no SHA-256 in base64 or hexadecimal", text)
		}
		if c := keys[wanted]; c != nil {
			return pass("the key of %s is pinned", c.Subject)
		}
	}
	return fail(PinMismatch, "the engine's pin is %s, which is none of the %d in DOCKER_TLS_PIN", describe(r.server[0], r.Now()).Pin, len(r.Pins))
}

func (r *run) clientFile(context.Context) outcome {
	if r.own.certFault.status != "" {
		return r.own.certFault
	}
	r.report.Client = describe(r.own.leaf, r.Now())
	return pass("%s", r.own.leaf.Subject)
}

func (r *run) clientKey(context.Context) outcome {
	switch {
	case r.own.keyFault.status != "":
		return r.own.keyFault
	case r.own.leaf == nil:
		return skip(EarlierFailure, "there is no certificate that the key could belong to")
	}
	return pass("%s belongs to %s", r.Key, r.Cert)
}

func (r *run) clientMode(context.Context) outcome {
	if r.own.keyMode == 0 {
		return skip(EarlierFailure, "the key's file could not be opened")
	}
	if open := r.own.keyMode.Perm() & 0o077; open != 0 {
		return fail(KeyOpenToOthers, "%s has mode %04o: others than its owner can use the key", r.Key, r.own.keyMode.Perm())
	}
	return pass("mode %04o", r.own.keyMode.Perm())
}

// clientChain is a warning at most: an engine may trust another authority for its clients than the one that signed its
// own certificate.
func (r *run) clientChain(context.Context) outcome {
	if _, err := r.chain(r.own.leaf, nil); err != nil {
		return warn(ClientOtherAuthority, "the client's certificate was signed by %q, which is not an authority of %s", r.own.leaf.Issuer, r.CA)
	}
	return pass("signed by %s", r.own.leaf.Issuer)
}

func (r *run) clientUsage(context.Context) outcome {
	if !allows(r.own.leaf, x509.ExtKeyUsageClientAuth) {
		return fail(ClientWrongUsage, "%s is not a certificate for clients", r.Cert)
	}
	return pass("for clients")
}

func date(t time.Time) string { return fmt.Sprint(t.UTC().Format("2006-01-02 15:04 UTC")) }
