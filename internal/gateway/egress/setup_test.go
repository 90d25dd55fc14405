package egress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/internal/session"
	"berth/internal/waittest"
)

// outside is the internet of a test: names with their addresses, and listeners at those. It records what leaves the gateway.
type outside struct {
	mu       sync.Mutex
	names    map[string][]netip.Addr
	servers  map[string]string // real listeners, by the address that a test gives them
	lookedUp []string
	dialled  []string
}

func (o *outside) resolve(_ context.Context, name string) ([]netip.Addr, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lookedUp = append(o.lookedUp, name)
	found, ok := o.names[strings.TrimSuffix(name, ".")]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return found, nil
}

func (o *outside) connect(ctx context.Context, network, address string) (net.Conn, error) {
	o.mu.Lock()
	o.dialled = append(o.dialled, address)
	to, ok := o.servers[address]
	o.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return (&net.Dialer{}).DialContext(ctx, network, to)
}

// name gives a name its addresses.
func (o *outside) name(name string, addresses ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names[name] = nil
	for _, a := range addresses {
		o.names[name] = append(o.names[name], netip.MustParseAddr(a))
	}
}

// left reports what has left the gateway: look-ups and connections.
func (o *outside) left() (lookedUp, dialled []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string{}, o.lookedUp...), append([]string{}, o.dialled...)
}

type report struct{ session, rule, what string }

// fixture is a Relay with its callers and its outside.
type fixture struct {
	*Relay
	out *outside

	mu      sync.Mutex
	callers map[netip.Addr]session.Caller
	lives   map[netip.Addr]context.CancelFunc
	live    map[netip.Addr]context.Context
	reports []report
}

// here is the address that connections of tests come from.
var here = netip.MustParseAddr("127.0.0.1")

// gatewayAddress is what the DNS server answers.
var gatewayAddress = netip.MustParseAddr("10.77.0.1")

func newFixture(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{
		out:     &outside{names: map[string][]netip.Addr{}, servers: map[string]string{}},
		callers: map[netip.Addr]session.Caller{},
		lives:   map[netip.Addr]context.CancelFunc{},
		live:    map[netip.Addr]context.Context{},
	}
	f.caller("one", here, session.EgressListed, "allowed.example", "*.wild.example", "odd.example:8443", "db.example:5432")
	o := Options{
		Address:  gatewayAddress,
		Identify: f.identifyCaller,
		Refused:  f.refused,
		Log:      slog.New(slog.DiscardHandler),
		Dial: DialOptions{
			Resolve:  f.out.resolve,
			Own:      func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("203.0.113.99")}, nil },
			Sessions: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")},
		},
	}
	for _, c := range change {
		c(&o)
	}
	policy := newPolicy(t, nil, "10.1.2.0/24:5432")
	relay, err := New(policy, o)
	if err != nil {
		t.Fatal(err)
	}
	relay.dialer.connect = f.out.connect
	f.Relay = relay
	return f
}

func newPolicy(t testing.TB, lists map[string][]string, private ...string) *Policy {
	t.Helper()
	p, err := NewPolicy(lists, private)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (f *fixture) caller(id session.ID, at netip.Addr, mode session.EgressMode, allow ...string) session.Caller {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := session.Caller{Session: id, Profile: "opencode", Address: at, Egress: mode, Allow: allow}
	f.callers[at] = c
	live, end := context.WithCancel(context.Background())
	f.live[at], f.lives[at] = live, end //nolint:fatcontext // one for each address, not nested
	return c
}

func (f *fixture) gone(at netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.callers, at)
	f.lives[at]()
}

func (f *fixture) identifyCaller(a netip.Addr) (session.Caller, context.Context, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.callers[a]
	return c, f.live[a], ok
}

func (f *fixture) refused(_ context.Context, c session.Caller, rule, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reports = append(f.reports, report{string(c.Session), rule, what})
}

// reported reports whether a refusal for a reason was reported whose sentence contains text.
func (f *fixture) reported(reason Reason, text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.reports {
		if r.rule == string(reason) && strings.Contains(r.what, text) {
			return true
		}
	}
	return false
}

// nothingLeft fails the test if a look-up or a connection has left the gateway.
func (f *fixture) nothingLeft(t *testing.T, why string) {
	t.Helper()
	if lookedUp, dialled := f.out.left(); len(lookedUp)+len(dialled) > 0 {
		t.Errorf("%s: looked up %q, dialled %q, want nothing to leave the gateway", why, lookedUp, dialled)
	}
}

// server gives a handler of connections an address outside.
func (f *fixture) server(t *testing.T, at string, serve func(*net.TCPConn)) {
	t.Helper()
	l := listen(t)
	f.out.mu.Lock()
	f.out.servers[at] = l.Addr().String()
	f.out.mu.Unlock()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
}

// web gives a handler an address outside, with TLS or without.
func (f *fixture) web(t *testing.T, at string, certificate *tls.Certificate, h http.HandlerFunc) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if certificate != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	f.out.servers[at] = s.Listener.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// run serves a listener until the end of the test, and returns its address.
func run(t *testing.T, serve func(context.Context, net.Listener) error) string {
	t.Helper()
	l := listen(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("serve: got %v at the end, want nil", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("serve has not ended with its context")
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// proxy serves Connect and Forward as the gateway's HTTP port does, to the caller of the connection's address.
func (f *fixture) proxy(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, err := netip.ParseAddrPort(r.RemoteAddr)
		caller, _, ok := f.identifyCaller(at.Addr())
		switch {
		case err != nil || !ok:
			http.Error(w, "unknown", http.StatusForbidden)
		case r.Method == http.MethodConnect:
			f.Connect(w, r, caller)
		default:
			f.Forward(w, r, caller)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// certificate is a certificate for names, and the pool that trusts it.
func certificate(t *testing.T, names ...string) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

func waitReported(t *testing.T, f *fixture, reason Reason, text string) {
	t.Helper()
	waittest.True(t, "a report of "+string(reason)+" about "+text, func() bool { return f.reported(reason, text) })
}
