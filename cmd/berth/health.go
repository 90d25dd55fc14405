package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"
)

type healthCmd struct {
	configFlags
	Timeout time.Duration `default:"5s" placeholder:"TIME" help:"Longest time to wait for the answer. Default: ${default}."`
}

// Help is shown by berth health --help.
func (healthCmd) Help() string {
	return `Checks whether the Berth on this machine is ready (GET /readyz at the address of its settings). The exit code is 0 if it is
and 1 if not: for the health check of a container, and for scripts. It needs no token.

Examples:

    berth health
    berth health --listen 127.0.0.1:8090`
}

// Run checks whether Berth is ready.
func (c *healthCmd) Run(ctx context.Context, std *stdio) error {
	// Faults of settings are reported by serve; only the address is needed here.
	cfg, _ := c.ProvideConfig(std)
	address := localAddress(cfg.Server)
	if address == "" {
		return usageError(fmt.Errorf("the address %q that Berth listens on is not host:port with a port to connect to", cfg.Server.Listen))
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// Another user may run this, who cannot read which certificates are expected; nothing secret is sent.
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // see above
	}}).Do(req)
	if err != nil {
		return &commandError{code: exitFailure, err: fmt.Errorf("no Berth answers at %s: %w", req.URL.Host, errors.Unwrap(err))}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &commandError{code: exitFailure, err: fmt.Errorf("the Berth at %s is not ready: %s", req.URL.Host, resp.Status)}
	}
	_, err = fmt.Fprintln(std.Out, "ready")
	return err
}
