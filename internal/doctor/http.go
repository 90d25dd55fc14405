package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	probeTimeout = 3 * time.Second
	maxPlain     = 1 << 20 // bytes of a response that are read
)

// answers reports whether an HTTP server responds, with any status.
func answers(ctx context.Context, address string) error {
	_, err := plainGet(ctx, address, "/")
	return err
}

// plainGet sends one request without TLS and without a proxy of the environment.
func plainGet(ctx context.Context, address, path string) (http.Header, error) {
	_, header, _, err := read(ctx, "http://"+address+path, nil)
	return header, err
}

// describes reports whether the API at a base URL has a path, according to its OpenAPI document, which needs no token.
func describes(ctx context.Context, base string, trusted *tls.Config, path string) (bool, error) {
	status, _, body, err := read(ctx, base+"/openapi.json", trusted)
	if err != nil || status != http.StatusOK {
		return false, err
	}
	var api struct {
		Paths map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(body, &api); err != nil {
		return false, fmt.Errorf("read /openapi.json: %w", err)
	}
	_, found := api.Paths[path]
	return found, nil
}

// read makes one request without a proxy of the environment. trusted is for a URL with https.
func read(ctx context.Context, url string, trusted *tls.Config) (status int, header http.Header, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: trusted}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return 0, nil, nil, op.Err
		}
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxPlain)); err != nil {
		return 0, nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	return resp.StatusCode, resp.Header, body, nil
}
