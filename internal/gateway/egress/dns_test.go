package egress

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"berth/internal/session"
)

// nameServer serves the DNS of a fixture, and returns its address.
func (f *fixture) nameServer(t *testing.T) string {
	t.Helper()
	udp, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", udp.LocalAddr().String())
	if err != nil {
		t.Skipf("the port that UDP got is taken for TCP: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f.ServeDNS(ctx, udp, tcp) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ServeDNS: got %v at the end, want nil", err)
		}
	})
	return udp.LocalAddr().String()
}

func ask(t *testing.T, network, server string, q *dns.Msg) *dns.Msg {
	t.Helper()
	a, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(q, server)
	if err != nil {
		t.Fatalf("query over %s: %v", network, err)
	}
	return a
}

func TestNameServerKnowsAllowedNamesOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := f.nameServer(t)
	for _, network := range []string{"udp", "tcp"} {
		for name, want := range map[string]bool{
			"allowed.example.": true, "ALLOWED.eXample.": true, "a.wild.example.": true, "a.b.wild.example.": true, "odd.example.": true, "db.example.": true,
			"wild.example.": false, "sub.allowed.example.": false, "notallowed.example.": false, "allowed.example.evil.test.": false, "example.": false, ".": false,
			"secret-data.exfil.test.": false, "allowed.example\\.evil.test.": false, "\\000allowed.example.": false, "allowed.example\\000.": false, "a_b.wild.example.": false,
			"1.0.0.127.in-addr.arpa.": false, strings.Repeat("a", 63) + ".wild.example.": true,
		} {
			a := ask(t, network, server, new(dns.Msg).SetQuestion(name, dns.TypeA))
			if !want {
				if a.Rcode != dns.RcodeNameError || len(a.Answer) > 0 {
					t.Errorf("%s over %s: got %s with %v, want NXDOMAIN", name, network, dns.RcodeToString[a.Rcode], a.Answer)
				}
				continue
			}
			if a.Rcode != dns.RcodeSuccess || len(a.Answer) != 1 {
				t.Errorf("%s over %s: got %s with %v, want one address", name, network, dns.RcodeToString[a.Rcode], a.Answer)
				continue
			}
			if got := a.Answer[0].(*dns.A).A.String(); got != gatewayAddress.String() {
				t.Errorf("%s: got %s, want the gateway's own address", name, got)
			}
		}
	}
	f.nothingLeft(t, "names in queries")
	if !f.reported(ReasonNotListed, "secret-data.exfil.test is not on this session's list") {
		t.Error("a refused name was not reported")
	}
	if f.reported(ReasonNotListed, "in-addr.arpa") {
		t.Error("a reverse look-up was reported as a refused host")
	}
}

func TestNameServerAnswersByMode(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := f.nameServer(t)
	q := new(dns.Msg).SetQuestion("allowed.example.", dns.TypeA)
	f.caller("one", here, session.EgressNone, "allowed.example")
	if a := ask(t, "udp", server, q); a.Rcode != dns.RcodeNameError {
		t.Errorf("egress none: got %s, want NXDOMAIN", dns.RcodeToString[a.Rcode])
	}
	f.caller("one", here, session.EgressOpen)
	if a := ask(t, "udp", server, new(dns.Msg).SetQuestion("anything.test.", dns.TypeA)); len(a.Answer) != 1 {
		t.Errorf("egress open: got %v, want the gateway's address", a)
	}
}

func TestNameServerHasNothingElse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := f.nameServer(t)
	question := func(change func(*dns.Msg)) *dns.Msg {
		q := new(dns.Msg).SetQuestion("allowed.example.", dns.TypeA)
		change(q)
		return q
	}
	for what, c := range map[string]struct {
		query *dns.Msg
		rcode int
	}{
		"AAAA":  {question(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeAAAA }), dns.RcodeSuccess},
		"HTTPS": {question(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeHTTPS }), dns.RcodeSuccess},
		"TXT":   {question(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeTXT }), dns.RcodeSuccess},
		"ANY":   {question(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeANY }), dns.RcodeSuccess},
		"NULL":  {question(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeNULL }), dns.RcodeSuccess},
		"AXFR":  {question(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeAXFR }), dns.RcodeRefused},
		"IXFR":  {question(func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeIXFR }), dns.RcodeRefused},
		"CHAOS": {question(func(q *dns.Msg) {
			q.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
		}), dns.RcodeRefused},
		"class ANY":     {question(func(q *dns.Msg) { q.Question[0].Qclass = dns.ClassANY }), dns.RcodeRefused},
		"two questions": {question(func(q *dns.Msg) { q.Question = append(q.Question, q.Question[0]) }), dns.RcodeFormatError},
		"no question":   {question(func(q *dns.Msg) { q.Question = nil }), dns.RcodeFormatError},
		"NOTIFY":        {question(func(q *dns.Msg) { q.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		"UPDATE":        {question(func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		"EDNS 1":        {question(func(q *dns.Msg) { q.SetEdns0(4096, true); q.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		"EDNS":          {question(func(q *dns.Msg) { q.SetEdns0(65000, true); q.Question[0].Qtype = dns.TypeMX }), dns.RcodeSuccess},
		"an answer in it": {question(func(q *dns.Msg) {
			q.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "allowed.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"x"}}}
		}), dns.RcodeFormatError},
	} {
		a := ask(t, "udp", server, c.query)
		if a.Rcode != c.rcode || len(a.Answer)+len(a.Ns) > 0 {
			t.Errorf("%s: got %s with %v, want %s without data", what, dns.RcodeToString[a.Rcode], a.Answer, dns.RcodeToString[c.rcode])
		}
		if asked, answered := c.query.Len(), a.Len(); answered > asked+11 {
			t.Errorf("%s: %d bytes for a query of %d: it amplifies", what, answered, asked)
		}
	}
	f.nothingLeft(t, "queries of all types")
}

func TestNameServerIgnoresResponsesAndUnknownAddresses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := f.nameServer(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(change func(*dns.Msg)) {
		q := new(dns.Msg).SetQuestion("allowed.example.", dns.TypeA)
		change(q)
		text, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	answered := func() uint16 {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		a := new(dns.Msg)
		if err := a.Unpack(buffer[:n]); err != nil {
			t.Fatal(err)
		}
		return a.Id
	}
	// The first answer is that of the last query, so the others had none.
	send(func(q *dns.Msg) { q.Response, q.Id = true, 1 })
	f.gone(here)
	send(func(q *dns.Msg) { q.Id = 2 })
	waitReported(t, f, ReasonUnknownCaller, "127.0.0.1")
	f.caller("one", here, session.EgressListed, "allowed.example")
	send(func(q *dns.Msg) { q.Id = 3 })
	if id := answered(); id != 3 {
		t.Errorf("query %d was answered, want 3 only", id)
	}
}

func TestQueriesOfASessionAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range queryBurst {
		if !f.queries.allow("one") {
			t.Fatal("refused within the limit")
		}
	}
	refused := false
	for range 2000 {
		refused = refused || !f.queries.allow("one")
	}
	if !refused {
		t.Error("no query was refused")
	}
	if !f.queries.allow("two") {
		t.Error("another session is refused too")
	}
	f.Close("one")
	if !f.queries.allow("one") {
		t.Error("the limiter of a session that is gone was kept")
	}
}

func TestTCPConnectionsToTheNameServerAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := f.nameServer(t)
	conns := make([]net.Conn, maxDNSConns)
	for i := range conns {
		conns[i] = dial(t, server)
	}
	over := dial(t, server)
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("a connection above the limit was kept open")
	}
	conns[0].Close()
}
