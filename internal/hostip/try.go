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

// IsSession is nil when a session's server answers: whoever asks it for anything without a credential is asked for one.
// None is sent, because it may be anybody who answers.
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
		return fmt.Errorf("what answers there says %s and asks for no credential: it is no session's server", resp.Status)
	}
	return nil
}

// IsEngine is nil when something speaks TLS, as the engine's API does. Who that is the certificate says, which is not
// looked at here.
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

// plain leaves out of a network error what the reader sees beside it.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
