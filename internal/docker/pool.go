package docker

import (
	"errors"
	"net/http"
	"sync"
)

// errRenewed is why a stream ends that was opened before the certificates changed.
var errRenewed = errors.New("the engine's certificates have changed, the stream must be opened anew")

// pool is a transport whose connections can be replaced while requests run: those under way finish on the connections that
// they have, and no later request uses one of these.
type pool struct {
	make func() *http.Transport

	mu      sync.Mutex
	current *http.Transport
	renewed chan struct{} // closed when current is replaced
}

func newPool(transport func() *http.Transport) *pool {
	return &pool{make: transport, current: transport(), renewed: make(chan struct{})}
}

// state answers the transport for new requests, and what is closed when it is one no longer.
func (p *pool) state() (*http.Transport, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, p.renewed
}

// RoundTrip implements [http.RoundTripper].
func (p *pool) RoundTrip(req *http.Request) (*http.Response, error) {
	transport, renewed := p.state()
	resp, err := transport.RoundTrip(req)
	select {
	case <-renewed:
		// A request that begins on a transport makes it keep connections again.
		transport.CloseIdleConnections()
	default:
	}
	return resp, err
}

// renew makes later requests open connections of their own. Idle ones are closed now, busy ones when they become idle.
func (p *pool) renew() {
	fresh := p.make()
	p.mu.Lock()
	old, renewed := p.current, p.renewed
	p.current, p.renewed = fresh, make(chan struct{})
	p.mu.Unlock()
	close(renewed)
	old.CloseIdleConnections()
}

// CloseIdleConnections is for [http.Client].
func (p *pool) CloseIdleConnections() {
	transport, _ := p.state()
	transport.CloseIdleConnections()
}
