package tlscheck

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// revocation looks the certificates up in the lists that are at hand. dockerd knows no lists: what it would accept,
// berth guard refuses.
func (r *run) revocation(context.Context) outcome {
	lists, err := readLists(r.CRL)
	switch {
	case r.CRL == "" || errors.Is(err, fs.ErrNotExist):
		return skip(NotAtHand, "there is no revocation list")
	case err != nil:
		return fail(CRLUnusable, "%s: %v", r.CRL, err)
	}
	outdated := ""
	for _, list := range lists {
		signer := slices.IndexFunc(r.own.authorities, func(ca *x509.Certificate) bool { return list.CheckSignatureFrom(ca) == nil })
		if signer < 0 {
			return fail(CRLUnusable, "a list in %s was signed by none of the authorities in %s", r.CRL, r.CA)
		}
		by := r.own.authorities[signer]
		if len(r.server) > 0 && revoked(list, by, r.server[0]) {
			return fail(ServerRevoked, "the certificate that the engine has loaded was revoked")
		}
		if r.own.leaf != nil && revoked(list, by, r.own.leaf) {
			return fail(ClientRevoked, "%s was revoked", r.Cert)
		}
		if !list.NextUpdate.IsZero() && r.Now().After(list.NextUpdate) {
			outdated = date(list.NextUpdate)
		}
	}
	if outdated != "" {
		return warn(CRLOutdated, "the list in %s should have been replaced by %s", r.CRL, outdated)
	}
	return pass("neither certificate is in %s", r.CRL)
}

func revoked(list *x509.RevocationList, by, c *x509.Certificate) bool {
	return c.CheckSignatureFrom(by) == nil && slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(c.SerialNumber) == 0
	})
}

func readLists(path string) ([]*x509.RevocationList, error) {
	rest, _, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var lists []*x509.RevocationList
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errMalformed, err)
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("%w: no revocation list in it", errMalformed)
	}
	return lists, nil
}
