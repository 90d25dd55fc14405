// Package egress is the way of sessions to the internet: it knows lists of hosts and ports, judges names and addresses, and
// carries what is allowed.
//
// The network enforces the lists, not this package: the containers of sessions are on a network without a way out, on which
// nothing answers but the gateway. A program that ignores every proxy variable, and its own resolver, therefore reaches nothing,
// and a fault here closes the way instead of opening it. Variables such as HTTPS_PROXY are for comfort only.
//
// A connection is judged by name and port together, in the form in which its client states them: the target of a CONNECT, the
// server name of a TLS handshake, the host of a plain HTTP request. TLS is not decrypted. The name is then resolved here, once,
// and the addresses are judged too; one of those is dialled, without a second look-up.
//
// The package does not know where its listeners come from, how a token is checked, or what becomes of the refusals it reports.
package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"

	"berth/internal/session"
)

// Options configure a [Relay].
type Options struct {
	// Address is the gateway's own address on the sessions' network, with which the DNS server answers. Required, IPv4.
	Address netip.Addr
	// Identify returns the session whose container has an address, and a context that ends with its right to use the gateway, and its
	// streams with it. Required.
	Identify func(netip.Addr) (session.Caller, context.Context, bool)
	// Refused is called for refusals, with the reason and a sentence for people. What a session repeats within a minute is reported
	// once, and a session has a bounded number of reports. The Caller of an unknown address has only that. Nil: nothing is reported.
	Refused func(ctx context.Context, caller session.Caller, rule, what string)
	// Dial configures the way out.
	Dial DialOptions
	// Limits bound the connections.
	Limits Limits
	// Log receives faults of Berth and of the network; refusals are not logged. Required.
	Log *slog.Logger
}

// Relay serves the names and connections of sessions. It is safe for concurrent use. Create it with [New].
type Relay struct {
	opts      Options
	limits    Limits
	dialer    *Dialer
	policy    atomic.Pointer[Policy]
	streams   *streams
	notifier  *notifier
	queries   *queryLimiter
	stats     counters
	forwarder *forwarder
}

// New returns a Relay with the lists of a policy.
func New(policy *Policy, o Options) (*Relay, error) {
	var faults []error
	if policy == nil {
		faults = append(faults, errors.New("no policy"))
	}
	if !o.Address.Is4() {
		faults = append(faults, fmt.Errorf("the gateway's address %s is not IPv4", o.Address))
	}
	if o.Identify == nil || o.Log == nil {
		faults = append(faults, errors.New("no Identify or no Log"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	r := &Relay{opts: o, limits: o.Limits.withDefaults(), dialer: NewDialer(o.Dial)}
	r.policy.Store(policy)
	r.streams = newStreams(r.limits)
	r.notifier = newNotifier(o.Refused)
	r.queries = newQueryLimiter()
	r.forwarder = r.newForwarder()
	return r, nil
}

// SetPolicy replaces the lists. Streams that the new ones do not allow end.
func (r *Relay) SetPolicy(policy *Policy) {
	r.policy.Store(policy)
	r.streams.end(func(s *stream) bool {
		return s.carries() && !policy.Judge(s.caller, s.target).Allowed
	})
}

// Close ends the streams of a session that is gone, and forgets what was counted for it.
func (r *Relay) Close(id session.ID) {
	r.streams.end(func(s *stream) bool { return s.caller.Session == id })
	r.notifier.forget(id)
	r.queries.forget(id)
}

// Dialer is the way out that the Relay uses.
func (r *Relay) Dialer() *Dialer { return r.dialer }

// refuse counts and reports a refusal.
func (r *Relay) refuse(ctx context.Context, caller session.Caller, v Verdict) {
	r.stats.refused(v.Reason)
	r.notifier.report(ctx, caller, v)
}

// identify returns the session of a connection by its remote address. An unknown one is reported.
func (r *Relay) identify(ctx context.Context, remote net.Addr) (session.Caller, bool) {
	address := addressOf(remote)
	caller, _, ok := r.opts.Identify(address)
	if !ok {
		r.refuse(ctx, session.Caller{Address: address}, refusal(ReasonUnknownCaller, "%s is not the address of a session's container", address))
	}
	return caller, ok
}

func addressOf(a net.Addr) netip.Addr {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
