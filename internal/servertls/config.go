package servertls

import (
	"crypto/tls"
)

// ALPN names of the protocols that are offered.
const (
	protoHTTP2 = "h2"
	protoHTTP1 = "http/1.1"
)

// suites of TLS 1.2: those with forward secrecy and authenticated encryption, which HTTP/2 requires (RFC 9113, appendix A). TLS 1.3
// has no others.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// TLS is the configuration of a listener: TLS 1.2 and later, HTTP/2 and HTTP/1.1.
func (c *Certificates) TLS() *tls.Config {
	protocols := []string{protoHTTP2, protoHTTP1}
	if c.Issuer != nil {
		protocols = append(protocols, c.Issuer.Protocol())
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   suites,
		NextProtos:     protocols,
		GetCertificate: c.Get,
	}
}
