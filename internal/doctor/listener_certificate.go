package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"

	"berth/internal/config"
	"berth/internal/pki"
	"berth/internal/servertls"
	"berth/internal/storage"
)

// listenerCertificate checks the certificates that Berth's own listener shows: that their files can be used and are protected,
// that they do not end soon, and that they cover every host under which users reach Berth and their sessions.
func listenerCertificate(_ context.Context, o *Options) []Finding {
	pairs := o.Config.Server.KeyPairs()
	if !o.Config.Server.TLS() {
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
	obtained, late := o.obtained(leaves)
	findings = append(findings, late...)
	leaves = append(leaves, obtained...)
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

// obtained reads the certificates that Berth has obtained for its hosts, where no file is for them, and returns a finding for each
// that is missing or should have been renewed.
func (o *Options) obtained(files []*x509.Certificate) (leaves []*x509.Certificate, findings []Finding) {
	const remedy = "see Berth's log for why the authority refuses it (berth.acme): its challenges must arrive, or the DNS hook must work"
	if o.Config.Server.ACMEEmail == "" {
		return nil, nil
	}
	for _, host := range o.listenerHosts() {
		if host.hook && o.Config.Server.ACMEDNSHook == "" || covers(files, host.name) {
			continue
		}
		switch leaf := o.newest(host.name); {
		case leaf == nil:
			findings = append(findings, warn("not-obtained", remedy, "there is no certificate for %s yet", host.shown))
			leaves = append(leaves, &x509.Certificate{DNSNames: []string{host.shown}}) // which is what Berth waits for
		case servertls.ExpiryOf(leaf, o.Now()).Urgency != pki.UrgencyOK:
			findings = append(findings, fail("not-renewed", remedy, "the certificate for %s ends on %s, and was not renewed", host.shown, day(leaf.NotAfter)))
			leaves = append(leaves, leaf)
		default:
			leaves = append(leaves, leaf)
		}
	}
	return leaves, findings
}

// newest is the certificate in the store of obtained ones that is valid for a host for longest; nil if there is none.
func (o *Options) newest(host string) (newest *x509.Certificate) {
	found, err := filepath.Glob(filepath.Join(storage.Dir(o.Config.Server.StateDir).ACME(), "certificates", "*", "*", "*.crt"))
	if err != nil {
		return nil
	}
	for _, path := range found {
		certs, err := pki.ReadCertificates(path)
		if err == nil && certs[0].VerifyHostname(host) == nil && (newest == nil || certs[0].NotAfter.After(newest.NotAfter)) {
			newest = certs[0]
		}
	}
	return newest
}

// listenerHost is a host under which users reach Berth or their sessions.
type listenerHost struct {
	name, shown string
	hook        bool // its certificate is obtained by the DNS hook
	finding     Finding
}

func (o *Options) listenerHosts() (all []listenerHost) {
	if public, err := o.Config.Server.Public(); err == nil && public != nil && public.Scheme == "https" {
		name := public.Hostname()
		all = append(all, listenerHost{name: name, shown: name, finding: fail("public-host-not-covered",
			"add a certificate for it to BERTH_TLS_CERT and BERTH_TLS_KEY, or correct BERTH_PUBLIC_URL",
			"no certificate is valid for %s, the host of BERTH_PUBLIC_URL", name)})
	}
	if domain := o.Config.Session.DomainName(); domain != "" {
		all = append(all, listenerHost{name: "any-session." + domain, shown: "*." + domain, hook: true, finding: fail("session-hosts-not-covered",
			"add a certificate for *."+domain+" to BERTH_TLS_CERT and BERTH_TLS_KEY, or set BERTH_ACME_DNS_HOOK",
			"no certificate is valid for *.%s, the hosts of sessions", domain)})
	}
	return all
}

func covers(leaves []*x509.Certificate, host string) bool {
	return slices.ContainsFunc(leaves, func(leaf *x509.Certificate) bool { return leaf.VerifyHostname(host) == nil })
}

// uncovered returns a finding for each host for which no certificate is valid: Berth's public one, and those of sessions.
func (o *Options) uncovered(leaves []*x509.Certificate) (findings []Finding) {
	for _, host := range o.listenerHosts() {
		if !covers(leaves, host.name) {
			findings = append(findings, host.finding)
		}
	}
	return findings
}
