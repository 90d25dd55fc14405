package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"

	"berth/internal/session"
)

const (
	answerTTL    = 5 // seconds: a changed list takes effect soon
	queryRate    = 200
	queryBurst   = 400
	dnsTimeout   = 5 * time.Second
	tcpQueries   = 64   // of one connection
	maxDNSConns  = 16   // of one session over TCP
	udpSize      = 1232 // announced to clients; our answers are far smaller
	maxQuestions = 1
)

// ServeDNS serves the sessions' name server over UDP and TCP until ctx ends or a socket fails. It closes both. The error is nil at the
// end of ctx.
//
// Names that a session may reach have the gateway's own address, whatever their port; all others do not exist. No query goes any
// further, so that the labels of names carry nothing out.
func (r *Relay) ServeDNS(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	servers := []*dns.Server{
		{PacketConn: udp, UDPSize: dns.MinMsgSize * 8},
		{Listener: &dnsListener{Listener: tcp, relay: r, ctx: ctx}, MaxTCPQueries: tcpQueries, IdleTimeout: func() time.Duration { return dnsTimeout }},
	}
	ended := make(chan error, len(servers))
	var running sync.WaitGroup
	for _, s := range servers {
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { r.answerQuery(ctx, w, q) })
		s.MsgAcceptFunc = acceptQuery
		s.ReadTimeout, s.WriteTimeout = dnsTimeout, dnsTimeout
		running.Go(func() { ended <- s.ActivateAndServe() })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
		err = fmt.Errorf("egress: DNS server: %w", errors.Join(err, net.ErrClosed))
	}
	cancel()
	_ = udp.Close()
	tcp.Close()
	running.Wait()
	return err
}

// acceptQuery decides by the header of a message whether it is read at all. What is not a query gets no answer.
func acceptQuery(h dns.Header) dns.MsgAcceptAction {
	const response, opcodeShift, opcodeMask = 1 << 15, 11, 0xF
	switch {
	case h.Bits&response != 0:
		return dns.MsgIgnore
	case int(h.Bits>>opcodeShift)&opcodeMask != dns.OpcodeQuery:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != maxQuestions || h.Ancount != 0 || h.Nscount != 0 || h.Arcount > 2:
		return dns.MsgReject
	default:
		return dns.MsgAccept
	}
}

// answerQuery answers a query of a session; nobody else gets an answer.
func (r *Relay) answerQuery(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	caller, ok := r.identify(ctx, w.RemoteAddr())
	if !ok {
		return
	}
	if !r.queries.allow(caller.Session) {
		r.refuse(ctx, caller, refusal(ReasonLimit, "this session sends more than %d DNS queries a second; further ones are not answered", queryRate))
		return
	}
	answer, v := r.answer(caller, q)
	if v.Reason != "" {
		r.refuse(ctx, caller, v)
	}
	r.stats.queries.Add(1)
	if err := w.WriteMsg(answer); err != nil {
		r.opts.Log.DebugContext(ctx, "DNS answer not sent", "session", string(caller.Session), "error", err)
	}
}

// answer returns the answer to a query with one question, and a verdict of which the reason is empty unless a name was refused.
func (r *Relay) answer(caller session.Caller, q *dns.Msg) (*dns.Msg, Verdict) {
	a := new(dns.Msg).SetReply(q)
	a.Authoritative, a.RecursionAvailable = false, true
	if opt := q.IsEdns0(); opt != nil {
		a.SetEdns0(udpSize, false)
		if opt.Version() != 0 {
			a.Rcode = dns.RcodeBadVers
			return a, Verdict{}
		}
	}
	if len(q.Question) != maxQuestions {
		a.Question = nil
		a.Rcode = dns.RcodeFormatError
		return a, Verdict{}
	}
	question := q.Question[0]
	if question.Qclass != dns.ClassINET || question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR {
		a.Rcode = dns.RcodeRefused
		return a, Verdict{}
	}
	name, err := parseName(strings.TrimSuffix(question.Name, "."))
	if err != nil {
		// Search domains and reverse look-ups make such names all the time: they are no attempt to reach a host.
		a.Rcode = dns.RcodeNameError
		return a, Verdict{}
	}
	v := r.policy.Load().JudgeName(caller, name)
	switch {
	case !v.Allowed:
		a.Rcode = dns.RcodeNameError
		if strings.HasSuffix(name, ".in-addr.arpa") || strings.HasSuffix(name, ".ip6.arpa") {
			return a, Verdict{}
		}
		return a, v
	case question.Qtype == dns.TypeA:
		a.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: answerTTL},
			A:   r.opts.Address.AsSlice(),
		}}
	}
	return a, Verdict{} // other types have no data: no IPv6, and no keys for encrypted server names
}

// queryLimiter bounds the queries of each session.
type queryLimiter struct {
	mu   sync.Mutex
	each map[session.ID]*rate.Limiter
}

func newQueryLimiter() *queryLimiter { return &queryLimiter{each: map[session.ID]*rate.Limiter{}} }

func (q *queryLimiter) allow(id session.ID) bool {
	q.mu.Lock()
	l := q.each[id]
	if l == nil {
		if len(q.each) >= maxNotices {
			clear(q.each)
		}
		l = rate.NewLimiter(queryRate, queryBurst)
		q.each[id] = l
	}
	q.mu.Unlock()
	return l.Allow()
}

func (q *queryLimiter) forget(id session.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.each, id)
}

// dnsListener accepts the connections of sessions only, a few of each.
type dnsListener struct {
	net.Listener
	relay *Relay
	ctx   context.Context //nolint:containedctx // of the listener, whose method has none

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept implements [net.Listener].
func (l *dnsListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		caller, ok := l.relay.identify(l.ctx, conn.RemoteAddr())
		if ok && l.count(caller.Address, 1) {
			return &dnsConn{Conn: conn, closed: sync.OnceFunc(func() { l.count(caller.Address, -1) })}, nil
		}
		conn.Close()
	}
}

// count adds n, unless there would be too many.
func (l *dnsListener) count(a netip.Addr, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[netip.Addr]int{}
	}
	if l.open[a]+n > maxDNSConns {
		return false
	}
	if l.open[a] += n; l.open[a] == 0 {
		delete(l.open, a)
	}
	return true
}

type dnsConn struct {
	net.Conn
	closed func()
}

// Close implements [net.Conn].
func (c *dnsConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
