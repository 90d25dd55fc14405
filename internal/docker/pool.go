package docker

import (
	"errors"
	"net/http"
	"sync"
)

// errRenewed is why a stream that was opened before the certificates changed ends.
var errRenewed = errors.New("the engine's certificates have changed, the stream must be opened again")

// pool is a transport that can replace its connections while requests run: requests in flight finish on their connections,
// and no later request uses one of these.
type pool struct {
	make func() *http.Transport

	mu      sync.Mutex
	current *http.Transport
	renewed chan struct{} // closed when current is replaced
}

func newPool(transport func() *http.Transport) *pool {
	return &pool{make: transport, current: transport(), renewed: make(chan struct{})}
}

// state returns the transport for new requests, and a channel that is closed when it is replaced.
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
		// A request that starts on a transport makes it keep connections again.
		transport.CloseIdleConnections()
	default:
	}
	return resp, err
}

// renew makes later requests open new connections. Idle ones are closed now, busy ones when they become idle.
func (p *pool) renew() {
	fresh := p.make()
	p.mu.Lock()
	old, renewed := p.current, p.renewed
	p.current, p.renewed = fresh, make(chan struct{})
	p.mu.Unlock()
	close(renewed)
	old.CloseIdleConnections()
}

// CloseIdleConnections closes the present transport's idle connections. [http.Client] calls it.
func (p *pool) CloseIdleConnections() {
	transport, _ := p.state()
	transport.CloseIdleConnections()
}
