package docker

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"berth/internal/engineaddr"
	"berth/internal/session"

	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second // the engine never closes an idle connection
	keptConnections  = 64               // idle ones; only as many exist as requests ran at once
	keptForStreams   = 32               // beside a larger number of operations: logs, statistics, events
)

// endpoint is an engine's address and the protocol to reach it.
type endpoint struct {
	host    string // as it was written, for messages
	network string // "tcp" or "unix"
	address string // "host:port" or a path
	scheme  string // "http" or "https"
	tls     *tls.Config
}

func parseEndpoint(host string, conf *tls.Config) (endpoint, error) {
	engine, err := engineaddr.Parse(host)
	switch {
	case err != nil:
		return endpoint{}, session.Errorf(session.CodeInvalid,
			"DOCKER_HOST %q is not an address that Berth can use; write tcp://host:2376 or unix:///path", engineaddr.Redacted(host)).Because(err)
	case engine.Network == engineaddr.Unix:
		return endpoint{host: host, network: engine.Network, address: engine.Path, scheme: "http"}, nil
	case conf == nil:
		return endpoint{host: host, network: engine.Network, address: engine.HostPort(engineaddr.PortPlain), scheme: "http"}, nil
	}
	return endpoint{host: host, network: engine.Network, address: engine.HostPort(engineaddr.PortTLS), scheme: "https", tls: conf}, nil
}

// transport makes the pool of connections to the engine. It ignores a proxy of the environment, which would see every
// request to the engine.
func (at endpoint) transport(operations int) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, at.network, at.address)
		},
		TLSClientConfig:     at.tls,
		TLSHandshakeTimeout: handshakeTimeout,
		IdleConnTimeout:     idleTimeout,
		// Go's default of two idle connections per host costs two thirds of the throughput: each new one is a TLS handshake.
		MaxIdleConnsPerHost: max(keptConnections, operations+keptForStreams),
		DisableCompression:  true,
	}
}

// negotiate returns the newest API version that the engine and Berth support. It does not use the client library, which
// drops the cause of a failed connection.
func (at endpoint) negotiate(ctx context.Context, c *http.Client) (string, error) {
	authority := client.DummyHost // a socket's path is no host name
	if at.network == "tcp" {
		authority = at.address
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.scheme+"://"+authority+"/_ping", nil)
	if err != nil {
		return "", session.Errorf(session.CodeInvalid, "DOCKER_HOST %q cannot be used", at.host).Because(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", unreachable(at, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return "", unreachable(at, err)
	}
	offered := resp.Header.Get("Api-Version")
	switch {
	case strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return "", session.Errorf(session.CodeEngineUnavailable,
			"the engine at %s wants TLS: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to the client's certificates", at.host)
	case resp.StatusCode != http.StatusOK || offered == "":
		return "", session.Errorf(session.CodeEngineUnavailable,
			"what answers at %s (status %d) is not a Docker engine: set DOCKER_HOST to where one listens", at.host, resp.StatusCode)
	case versions.LessThan(offered, minAPIVersion):
		return "", session.Errorf(session.CodeEngineUnavailable,
			"the engine at %s speaks API %s; Berth needs %s or newer, which is Docker Engine 20.10", at.host, offered, minAPIVersion)
	case versions.LessThan(offered, client.MaxAPIVersion):
		return offered, nil
	}
	return client.MaxAPIVersion, nil
}

// roundTripper distinguishes the engine's answers from those of a proxy in front of it that cannot reach it.
type roundTripper struct{ base http.RoundTripper }

// answered is the context key of a func() that is called when the header of a successful answer has arrived.
type answered struct{}

func (t roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		if req.Context().Err() != nil { // the library recognizes these
			return nil, err
		}
		return nil, &connectionError{err}
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, &gatewayError{status: resp.Status, text: strings.TrimSpace(string(text))}
	case http.StatusOK:
		if call, ok := req.Context().Value(answered{}).(func()); ok {
			call()
		}
	}
	return resp, nil
}

// gatewayError is an answer of a proxy in front of the engine.
type gatewayError struct{ status, text string }

func (e *gatewayError) Error() string {
	if e.text == "" {
		return "answered " + e.status
	}
	return "answered " + e.status + ": " + e.text
}
