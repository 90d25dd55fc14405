package connection

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"berth/internal/pin"
	"berth/internal/pki"
)

const adviceRenewClient = "issue a new client certificate from the same authority (berth certs renew)"

func (r *run) clientFile(context.Context) Step {
	if r.own.certFault.Status != "" {
		return r.own.certFault
	}
	r.report.Client = describe(r.own.leaf, r.Now())
	return pass("%s", r.own.leaf.Subject)
}

func (r *run) clientKey(context.Context) Step {
	switch {
	case r.own.keyFault.Status != "":
		return r.own.keyFault
	case r.own.leaf == nil:
		return skip(earlierFailure, "there is no certificate that the key could belong to")
	}
	return pass("%s belongs to %s", r.Key, r.Cert)
}

func (r *run) clientMode(context.Context) Step {
	if r.own.keyMode == 0 {
		return skip(earlierFailure, "the key's file could not be opened")
	}
	if open := r.own.keyMode.Perm() & 0o077; open != 0 {
		return fail("key-open-to-others", "chmod 400 "+r.Key+"; if others may have read it, replace the pair: it is as good as root on the engine's host",
			"%s has mode %04o: others than its owner can use the key", r.Key, r.own.keyMode.Perm())
	}
	return pass("mode %04o", r.own.keyMode.Perm())
}

// clientChain warns at most: an engine may trust another authority for its clients than the one that signed its own
// certificate.
func (r *run) clientChain(context.Context) Step {
	if _, err := r.chain(r.own.leaf, nil); err != nil {
		return warn("client-of-another-authority",
			"see that the engine trusts that authority for its clients (tlscacert, or the guard's ca.pem), or issue a client certificate of the same authority",
			"the client's certificate was signed by %q, which is not an authority of %s", r.own.leaf.Issuer, r.CA)
	}
	return pass("signed by %s", r.own.leaf.Issuer)
}

func (r *run) clientUsage(context.Context) Step {
	if !allows(r.own.leaf, x509.ExtKeyUsageClientAuth) {
		return fail("client-wrong-usage", `use client-cert.pem, not the server's certificate; it needs the usage "TLS client"`,
			"%s is not a certificate for clients", r.Cert)
	}
	return pass("for clients")
}

func (r *run) clientDates(context.Context) Step {
	return r.dates(r.own.leaf, "client", "the client's certificate", adviceRenewClient)
}

// revocation checks the certificates against the available lists. dockerd supports no lists: it accepts certificates that
// berth guard refuses.
func (r *run) revocation(context.Context) Step {
	lists, err := pki.ReadRevocations(r.CRL, r.own.authorities)
	switch {
	case errors.Is(err, pki.ErrMissing):
		return skip(notAtHand, "there is no revocation list")
	case err != nil:
		return fail("crl-unusable", "replace "+r.CRL+" by the revocation list of the authority in "+r.CA+", in PEM", "%s: %v", r.CRL, pki.Reason(err))
	}
	var due time.Time
	for _, ca := range r.own.authorities {
		list := lists[pin.Of(ca)]
		if list == nil {
			continue
		}
		if len(r.server) > 0 && revoked(lists, ca, r.server[0]) {
			return fail("server-revoked", "do not connect: the server uses a revoked key. Install a new server certificate beside the engine, and restart dockerd",
				"the certificate that the engine has loaded was revoked")
		}
		if r.own.leaf != nil && revoked(lists, ca, r.own.leaf) {
			return fail("client-revoked", "issue a new client certificate (berth certs issue), and find out why this one was revoked", "%s was revoked", r.Cert)
		}
		if pki.Overdue(list, r.Now()) {
			due = list.NextUpdate
		}
	}
	if !due.IsZero() {
		return warn("crl-outdated", "have the authority write a new list (berth certs revoke does), and bring it here",
			"the list in %s should have been replaced by %s", r.CRL, date(due))
	}
	return pass("neither certificate is in %s", r.CRL)
}

func revoked(lists pki.Revocations, by, c *x509.Certificate) bool {
	return c.CheckSignatureFrom(by) == nil && lists.Has(by, c.SerialNumber)
}
