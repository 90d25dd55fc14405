package hostip

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
)

// IsSession returns nil when a session's server answers: it answers any request without a credential with 401. No credential
// is sent, because any server may answer.
func IsSession(ctx context.Context, at netip.AddrPort) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return plain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("the server there answers %s and demands no credential: it is not a session's server", resp.Status)
	}
	return nil
}

// IsEngine returns nil when a server uses TLS, as the engine's API does. Its certificate is not checked here.
func IsEngine(ctx context.Context, at netip.AddrPort) error {
	dialer := tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // nothing is sent
		MinVersion:         tls.VersionTLS12,
	}}
	conn, err := dialer.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return plain(err)
	}
	return conn.Close()
}

// plain shortens a network error to its cause.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
