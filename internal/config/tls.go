package config

import (
	"slices"
	"strings"
)

// KeyPair names the files of a certificate and its private key.
type KeyPair struct{ Cert, Key string }

// TLS reports whether the listener speaks TLS.
func (s Server) TLS() bool { return len(s.KeyPairs()) > 0 }

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
	if s.RedirectListen == "" {
		return
	}
	v.that(hostPort(s.RedirectListen, 0), "BERTH_REDIRECT_LISTEN", s.RedirectListen, "must be host:port, like 0.0.0.0:80")
	v.that(len(certs) > 0, "BERTH_REDIRECT_LISTEN", s.RedirectListen, "needs BERTH_TLS_CERT: there is no https to redirect to")
	v.that(s.RedirectListen != s.Listen || strings.HasSuffix(s.Listen, ":0"), "BERTH_REDIRECT_LISTEN", s.RedirectListen,
		"contradicts BERTH_LISTEN: it must be another address")
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
