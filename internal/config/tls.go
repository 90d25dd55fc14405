package config

import (
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// KeyPair names the files of a certificate and its private key.
type KeyPair struct{ Cert, Key string }

// TLS reports whether the listener speaks TLS.
func (s Server) TLS() bool { return len(s.KeyPairs()) > 0 || s.ACMEEmail != "" }

// KeyPairs are the certificates of the listener; none for plain HTTP, and where the settings contradict each other, which
// [Config.Validate] reports.
func (s Server) KeyPairs() []KeyPair {
	certs, keys := fileList(s.TLSCert), fileList(s.TLSKey)
	if len(certs) != len(keys) {
		return nil
	}
	pairs := make([]KeyPair, len(certs))
	for i := range certs {
		pairs[i] = KeyPair{certs[i], keys[i]}
	}
	return pairs
}

func (v *checker) tls(s Server) {
	certs, keys := fileList(s.TLSCert), fileList(s.TLSKey)
	v.that(!slices.Contains(certs, ""), "BERTH_TLS_CERT", s.TLSCert, "must be files separated by commas, one of them has no name")
	v.that(!slices.Contains(keys, ""), "BERTH_TLS_KEY", s.TLSKey, "must be files separated by commas, one of them has no name")
	v.that(len(certs) == len(keys), "BERTH_TLS_KEY", s.TLSKey,
		"must name one key for each certificate of BERTH_TLS_CERT, in the same order: there are %d certificates and %d keys", len(certs), len(keys))
	v.acme(s)
	if s.RedirectListen == "" {
		return
	}
	v.that(hostPort(s.RedirectListen, 0), "BERTH_REDIRECT_LISTEN", s.RedirectListen, "must be host:port, like 0.0.0.0:80")
	v.that(len(certs) > 0 || s.ACMEEmail != "", "BERTH_REDIRECT_LISTEN", s.RedirectListen,
		"needs BERTH_TLS_CERT or BERTH_ACME_EMAIL: there is no https to redirect to")
	v.that(s.RedirectListen != s.Listen || strings.HasSuffix(s.Listen, ":0"), "BERTH_REDIRECT_LISTEN", s.RedirectListen,
		"contradicts BERTH_LISTEN: it must be another address")
}

func (v *checker) acme(s Server) {
	if s.ACMEEmail == "" {
		v.that(s.ACMEDNSHook == "", "BERTH_ACME_DNS_HOOK", s.ACMEDNSHook, "needs BERTH_ACME_EMAIL: no certificate is obtained without it")
		return
	}
	address, err := mail.ParseAddress(s.ACMEEmail)
	v.that(err == nil && address.Address == s.ACMEEmail, "BERTH_ACME_EMAIL", s.ACMEEmail, "must be an e-mail address, like operator@example.com")
	public, err := s.Public()
	v.that(err != nil || public != nil && public.Scheme == "https" && !isAddress(public.Hostname()), "BERTH_ACME_EMAIL", s.ACMEEmail,
		"needs BERTH_PUBLIC_URL=https://… with a host name, for which the certificate is")
	u, err := url.Parse(s.ACMECA)
	v.that(s.ACMECA == "" || err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil, "BERTH_ACME_CA", s.ACMECA, "must begin with https://")
	v.that(s.ACMEDNSHook == "" || filepath.IsAbs(s.ACMEDNSHook), "BERTH_ACME_DNS_HOOK", s.ACMEDNSHook, "must be the absolute path of a program")
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// fileList are the names of a list that is separated by commas; none for an empty one.
func fileList(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	var all []string
	for name := range strings.SplitSeq(text, ",") {
		all = append(all, strings.TrimSpace(name))
	}
	return all
}
