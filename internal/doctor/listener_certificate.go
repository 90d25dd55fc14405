package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"berth/internal/config"
	"berth/internal/pki"
	"berth/internal/servertls"
)

// listenerCertificate checks the certificates that Berth's own listener shows: that their files can be used and are protected,
// that they do not end soon, and that they cover every host under which users reach Berth and their sessions.
func listenerCertificate(_ context.Context, o *Options) []Finding {
	pairs := o.Config.Server.KeyPairs()
	if len(pairs) == 0 {
		return []Finding{skip("no-tls", "Berth's listener speaks plain HTTP; a proxy in front has the certificates, or nothing but this machine reaches it")}
	}
	var findings []Finding
	var leaves []*x509.Certificate
	for _, files := range pairs {
		pair, err := servertls.Load(servertls.Pair(files))
		if err != nil {
			findings = append(findings, fail("pair-unusable", "correct the file, or BERTH_TLS_CERT and BERTH_TLS_KEY", "%v", err).at(files.Cert, 0))
			continue
		}
		leaves = append(leaves, pair.Leaf)
		if err := servertls.KeyFault(files.Key); err != nil {
			findings = append(findings, fail("key-open", "chmod 0400 "+files.Key+"; if others may have read the key, replace the pair",
				"%s: %v", files.Key, pki.Reason(err)).at(files.Key, 0))
		}
		findings = append(findings, o.listenerExpiry(files, pair.Leaf)...)
	}
	findings = append(findings, o.uncovered(leaves)...)
	return orPass(findings, pass("valid", "%d certificate(s) are valid, protected, and cover every configured host", len(leaves)))
}

func (o *Options) listenerExpiry(files config.KeyPair, leaf *x509.Certificate) []Finding {
	remedy := fmt.Sprintf("renew %s and its key; changed files are read without a restart", files.Cert)
	if err := servertls.Valid(leaf, o.Now()); err != nil {
		return []Finding{fail("not-valid-now", remedy, "clients refuse %s: %v", files.Cert, err).at(files.Cert, 0)}
	}
	switch servertls.ExpiryOf(leaf, o.Now()).Urgency {
	case pki.UrgencyCritical:
		return []Finding{fail("renewal-late", remedy, "%s ends on %s", files.Cert, day(leaf.NotAfter)).at(files.Cert, 0)}
	case pki.UrgencyWarning:
		return []Finding{warn("renewal-due", remedy, "%s ends on %s", files.Cert, day(leaf.NotAfter)).at(files.Cert, 0)}
	case pki.UrgencyOK:
	}
	return nil
}

// uncovered returns a finding for each host for which no certificate is valid: Berth's public one, and those of sessions.
func (o *Options) uncovered(leaves []*x509.Certificate) (findings []Finding) {
	covered := func(host string) bool {
		return slices.ContainsFunc(leaves, func(leaf *x509.Certificate) bool { return leaf.VerifyHostname(host) == nil })
	}
	if public, err := o.Config.Server.Public(); err == nil && public != nil && public.Scheme == "https" && !covered(public.Hostname()) {
		findings = append(findings, fail("public-host-not-covered", "add a certificate for it to BERTH_TLS_CERT and BERTH_TLS_KEY, or correct BERTH_PUBLIC_URL",
			"no certificate is valid for %s, the host of BERTH_PUBLIC_URL", public.Hostname()))
	}
	if domain, _, _ := strings.Cut(o.Config.Session.Domain, ":"); domain != "" && !covered("any-session."+domain) {
		findings = append(findings, fail("session-hosts-not-covered", "add a certificate for *."+domain+" to BERTH_TLS_CERT and BERTH_TLS_KEY",
			"no certificate is valid for *.%s, the hosts of sessions", domain))
	}
	return findings
}
