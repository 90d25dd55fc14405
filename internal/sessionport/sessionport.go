// Package sessionport gives every session a port of its own, on which browsers reach it where there are no names for sessions.
//
// It knows which session has which port, and when a port is open. It does not know what is served there.
package sessionport

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"berth/internal/session"
)

// Options are required, except Now and Listen.
type Options struct {
	First, Last uint16 // the range, both included
	Host        string // address to listen on; empty: all
	File        string // of the claims, in a directory that nobody else uses
	Logger      *slog.Logger

	Now    func() time.Time                                        // default: time.Now
	Listen func(address string) (listener net.Listener, err error) // default: TCP
}

// retryAfter is when a port that could not be opened, or a file that could not be written, is tried again.
const retryAfter = 5 * time.Second

// Ports holds a listener for every session that requests can reach or wake. It receives the routes of sessions; see
// [session.Routes]. It is safe for concurrent use.
type Ports struct {
	Options

	mu      sync.Mutex
	claims  *claims
	unsaved bool
	wanted  map[session.ID]bool // of each known session: whether its port is to be open
	refused map[uint16]bool     // ports that another program has
	open    map[session.ID]listener
	changed chan struct{} // has one element when there is something for Run
}

type listener struct {
	net.Listener
	port uint16
}

var _ session.Routes = (*Ports)(nil)

// New reads the claims of earlier processes. It opens nothing before [Ports.Run].
func New(o Options) (*Ports, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Listen == nil {
		o.Listen = func(address string) (net.Listener, error) {
			var lc net.ListenConfig
			return lc.Listen(context.Background(), "tcp", address)
		}
	}
	c, err := load(o.File, o.First, o.Last)
	if err != nil {
		return nil, err
	}
	return &Ports{
		Options: o, claims: c, wanted: map[session.ID]bool{}, refused: map[uint16]bool{}, open: map[session.ID]listener{},
		changed: make(chan struct{}, 1),
	}, nil
}

// Set claims a port for the session. [Ports.Run] opens it while requests can reach or wake the session, and closes it otherwise.
func (p *Ports) Set(r session.Route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wants, known := p.wanted[r.ID]
	if p.wanted[r.ID] = r.Running || r.Wakes; known && wants == p.wanted[r.ID] {
		return
	}
	if _, claimed := p.claims.byID[r.ID]; !claimed {
		p.claim(r.ID)
	}
	p.wake()
}

// claim claims a port for a session. The caller holds mu.
func (p *Ports) claim(id session.ID) uint16 {
	port := p.claims.claim(id, func(id session.ID) bool { _, known := p.wanted[id]; return known }, p.refused)
	if port == 0 {
		p.Logger.WarnContext(context.Background(), "no port left for a session; widen SESSION_PORTS", "session_id", id)
		return 0
	}
	p.unsaved = true
	return port
}

// Remove gives the session's port back.
func (p *Ports) Remove(id session.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.wanted[id]; !known {
		return
	}
	delete(p.wanted, id)
	p.claims.release(id, p.Now())
	p.unsaved = true
	p.wake()
}

func (p *Ports) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Of returns the session's port; 0: it has none.
func (p *Ports) Of(id session.ID) uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claims.byID[id]
}

// At returns the session that has a port; ours is false for a port that no session can have.
func (p *Ports) At(port uint16) (id session.ID, ours bool) {
	if port < p.First || port > p.Last {
		return "", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.claims.byPort[port]; one.Released.IsZero() {
		return one.Session, true
	}
	return "", true
}

// Run opens and closes ports until ctx ends, and then closes them all. Each listener is given to serve, which returns when the
// listener is closed.
func (p *Ports) Run(ctx context.Context, serve func(net.Listener)) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	defer p.closeAll()
	retry := time.NewTicker(retryAfter)
	defer retry.Stop()
	for {
		for _, l := range p.settle(ctx) {
			serving.Go(func() { serve(l) })
		}
		select {
		case <-p.changed:
		case <-retry.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// settle saves the claims, closes what is not wanted and returns the listeners that it has opened. A port is open only when it is
// written down whose it is.
func (p *Ports) settle(ctx context.Context) (opened []net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, l := range p.open {
		if !p.wanted[id] || p.claims.byID[id] != l.port {
			_ = l.Close()
			delete(p.open, id)
		}
	}
	if !p.save(ctx) {
		return nil
	}
	for id, wanted := range p.wanted {
		if _, isOpen := p.open[id]; !wanted || isOpen {
			continue
		}
		port := p.claims.byID[id]
		if port == 0 {
			if port = p.claim(id); port == 0 || !p.save(ctx) {
				continue
			}
		}
		l, err := p.Listen(net.JoinHostPort(p.Host, strconv.Itoa(int(port))))
		if err != nil {
			p.Logger.WarnContext(ctx, "port of a session not opened, it gets another one", "session_id", id, "port", port, "error", err)
			p.refused[port] = true
			if p.claim(id) != 0 {
				p.wake()
			}
			continue
		}
		p.open[id] = listener{l, port}
		opened = append(opened, l)
	}
	return opened
}

// save writes the claims if they have changed. The caller holds mu.
func (p *Ports) save(ctx context.Context) bool {
	if !p.unsaved {
		return true
	}
	if err := p.claims.save(p.File); err != nil {
		p.Logger.WarnContext(ctx, "ports of sessions not written, no more are opened until they are", "path", p.File, "error", fmt.Sprint(err))
		return false
	}
	p.unsaved = false
	return true
}

func (p *Ports) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, l := range p.open {
		_ = l.Close()
		delete(p.open, id)
	}
}
