package doctor

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/moby/moby/client"
)

// tlsClient asks the engine over TLS. It uses no proxy of the environment: the engine is a neighbour.
func tlsClient(conf *tls.Config, host string) *http.Client {
	address := host
	if _, _, err := net.SplitHostPort(host); err != nil {
		address = net.JoinHostPort(host, "2376")
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Client{CheckRedirect: client.CheckRedirect, Transport: &http.Transport{
		TLSClientConfig: conf, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		},
	}}
}
