package dockerd

import (
	"context"
	"net"
	"net/netip"
)

// Verify checks the engine from outside, once, on every address; see Options.Verify.
func (s *Setup) Verify(ctx context.Context) error {
	for _, listen := range s.opts.Listen {
		if _, err := s.verify(ctx, listen); err != nil {
			return err
		}
	}
	return nil
}

// awaitVerified gives a restarted engine time to answer. Refusals are checked only once: an engine that answers
// unauthenticated clients must not keep running until the time-out.
func (s *Setup) awaitVerified(ctx context.Context) error {
	for _, listen := range s.opts.Listen {
		var fault error
		if err := s.poll(ctx, func(ctx context.Context) error {
			answers, err := s.verify(ctx, listen)
			if answers {
				fault, err = err, nil
			}
			return err
		}); err != nil {
			return err
		}
		if fault != nil {
			return fault
		}
	}
	return nil
}

func (s *Setup) verify(ctx context.Context, listen netip.AddrPort) (answers bool, err error) {
	return s.opts.Verify(ctx, dialAddress(listen), s.serverName(listen))
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
