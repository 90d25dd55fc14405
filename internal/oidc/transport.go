package oidc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// requestTimeout is for one request to the provider, its answer included.
	requestTimeout = 10 * time.Second
	// maxAnswer is far above any discovery document, key set or token answer.
	maxAnswer = 256 << 10
	// maxErrorAnswer is what is read of an answer that is no success; it ends up in the log.
	maxErrorAnswer = 512
)

var errTooLarge = fmt.Errorf("the answer has more than %d KiB", maxAnswer>>10)

// boundedClient limits time and size of answers. It follows no redirect: a provider's endpoints have none, and the request
// for a token carries the client secret.
func boundedClient(t http.RoundTripper, roots *x509.CertPool) *http.Client {
	if t == nil {
		t = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout: requestTimeout, IdleConnTimeout: time.Minute,
			MaxIdleConnsPerHost: 2, MaxConnsPerHost: 16, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &http.Client{
		Transport: bounded{t}, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type bounded struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body := &boundedBody{ReadCloser: answer.Body, left: maxAnswer, beyond: errTooLarge}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		body.left, body.beyond = maxErrorAnswer, io.EOF
	}
	answer.Body = body
	return answer, nil
}

// boundedBody is a body that ends with an error where it is too large.
type boundedBody struct {
	io.ReadCloser
	left   int // bytes
	beyond error
}

// Read implements [io.Reader].
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		// One more byte tells a body that is too large from one that ends here.
		n, err := b.ReadCloser.Read(make([]byte, 1))
		if n > 0 {
			return 0, b.beyond
		}
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// describe is a bounded text of an error of the provider or of a library, for the log. Neither holds tokens or codes.
func describe(err error) error {
	const longest = 300
	if text := err.Error(); len(text) > longest {
		return errors.New(text[:longest] + "…")
	}
	return err
}
