package dockerd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	askTimeout  = 10 * time.Second
	pollPause   = 200 * time.Millisecond
	waitRefusal = 3 * time.Second // an engine that has said nothing against a certificate by then has taken it
	maxAnswer   = 1 << 20
)

// Verify looks at the engine from outside, once: on every address it must answer our client over TLS with the
// certificate of this set-up, and refuse a client without certificate and one of another authority.
func (s *Setup) Verify(ctx context.Context) error {
	for _, listen := range s.opts.Listen {
		if err := s.verifyAnswer(ctx, listen); err != nil {
			return err
		}
		if err := s.verifyRefusals(ctx, listen); err != nil {
			return err
		}
	}
	return nil
}

// awaitVerified gives a restarted engine time to answer. Whom it refuses is looked at once.
func (s *Setup) awaitVerified(ctx context.Context) error {
	for _, listen := range s.opts.Listen {
		if err := s.poll(ctx, func(ctx context.Context) error { return s.verifyAnswer(ctx, listen) }); err != nil {
			return err
		}
	}
	return s.Verify(ctx)
}

func (s *Setup) poll(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// dialAddress is where an address that is listened on can be reached from the machine itself.
func dialAddress(listen netip.AddrPort) string {
	addr := listen.Addr()
	switch {
	case addr.IsUnspecified() && addr.Is4():
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case addr.IsUnspecified():
		addr = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(addr, listen.Port()).String()
}

// serverName is a name in the engine's certificate: the address itself if it is one, else the first name.
func (s *Setup) serverName(listen netip.AddrPort) string {
	host, _, _ := net.SplitHostPort(dialAddress(listen))
	if s.leaf.VerifyHostname(host) == nil {
		return host
	}
	if len(s.leaf.DNSNames) > 0 {
		return s.leaf.DNSNames[0]
	}
	return s.leaf.IPAddresses[0].String()
}

func (s *Setup) clientTLS(listen netip.AddrPort, certificate *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    s.roots,
		ServerName: s.serverName(listen),
		Time:       s.host.Now,
		// Unlike Certificates this shows the certificate also to a server that says it does not trust its authority.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil },
	}
}

func (s *Setup) verifyAnswer(ctx context.Context, listen netip.AddrPort) error {
	address := dialAddress(listen)
	state, err := s.ask(ctx, "tcp", address, "https://engine/_ping", s.clientTLS(listen, &s.opts.Client), nil)
	if err != nil {
		return fmt.Errorf("the engine does not answer our client on %s: %w", listen, err)
	}
	if state == nil || len(state.PeerCertificates) == 0 || !state.PeerCertificates[0].Equal(s.leaf) {
		return fmt.Errorf("the engine on %s shows another certificate than the one in %s", listen, s.paths.cert)
	}
	return nil
}

func (s *Setup) verifyRefusals(ctx context.Context, listen netip.AddrPort) error {
	if err := s.verifyRefused(ctx, listen, &tls.Certificate{}); err != nil {
		return fmt.Errorf("a client without certificate on %s: %w", listen, err)
	}
	if err := s.verifyRefused(ctx, listen, &s.opts.Foreign); err != nil {
		return fmt.Errorf("a client with a certificate of another authority on %s: %w", listen, err)
	}
	return nil
}

// verifyRefused shows a certificate and wants the engine to say no, which in TLS 1.3 comes after the handshake. Nothing is
// sent meanwhile: the engine could not take it, and its reset would drown its refusal.
func (s *Setup) verifyRefused(ctx context.Context, listen netip.AddrPort, certificate *tls.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	raw, err := s.host.Dial(ctx, "tcp", dialAddress(listen))
	if err != nil {
		return err
	}
	defer raw.Close()
	conn := tls.Client(raw, s.clientTLS(listen, certificate))
	err = conn.HandshakeContext(ctx)
	if err == nil {
		if err := conn.SetReadDeadline(time.Now().Add(waitRefusal)); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
	}
	var told *net.OpError
	if errors.As(err, &told) && told.Op == "remote error" {
		return nil
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("the engine does not refuse it")
	}
	return fmt.Errorf("the engine should refuse it and does something else: %w", err)
}

// endpointOf splits an address of the engine such as unix:///var/run/docker.sock.
func endpointOf(host string) (network, address string) {
	network, address, _ = strings.Cut(host, "://")
	return network, address
}

// answers tells whether the engine is there as it was before a set-up: on its socket it must answer, on TCP take a
// connection, because whom it trusted there nobody knows here.
func (s *Setup) answers(ctx context.Context, host string) error {
	network, address := endpointOf(host)
	if network == "unix" {
		_, err := s.ask(ctx, network, address, "http://engine/_ping", nil, nil)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := s.host.Dial(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// engineInfo is what the engine says of itself.
type engineInfo struct {
	ServerVersion      string
	ContainersRunning  int
	LiveRestoreEnabled bool
	Swarm              struct{ LocalNodeState string }
}

func (s *Setup) info(ctx context.Context, host string) (engineInfo, error) {
	var info engineInfo
	network, address := endpointOf(host)
	_, err := s.ask(ctx, network, address, "http://engine/info", nil, &info)
	return info, err
}

// ask sends one GET over a connection of its own and reads the answer, which must be 200, into answer unless that is nil.
// It tells what was seen of TLS; nil without TLS.
func (s *Setup) ask(ctx context.Context, network, address, url string, config *tls.Config, answer any) (*tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.host.Dial(ctx, network, address) },
		TLSClientConfig:   config,
		DisableKeepAlives: true,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			return nil, fmt.Errorf("read its answer: %w", err)
		}
	}
	return resp.TLS, nil
}
