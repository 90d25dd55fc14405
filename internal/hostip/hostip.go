// Package hostip finds the address of the Docker host, at which the ports that it publishes are reached from here.
//
// It knows where such an address may come from: a name, settings, the routing table, the addresses that Docker usually
// takes. It accepts one only after the expected server has answered there: there are networks in which every address
// answers.
package hostip

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"berth/internal/session"
)

// Source is where an address was found.
type Source string

// The sources, in the order of their precedence.
const (
	Forced     Source = "HOST_IP" // before all others, and alone
	DockerName Source = "host.docker.internal"
	Gateways   Source = "DOCKER_HOST_GATEWAY, GATEWAY"
	Route      Source = "default route"
	Connection Source = "network of the default route"
	Common     Source = "usual gateways"
)

// Options are the configured addresses. Zero values of the rest mean this machine.
type Options struct {
	HostIP            string // HOST_IP: an address or a name; empty: not set
	DockerHostGateway string // DOCKER_HOST_GATEWAY, likewise
	Gateway           string // GATEWAY, likewise

	Routes, Routes6 string // the kernel's tables; empty: /proc/net/route and /proc/net/ipv6_route

	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	Own     func(ctx context.Context) (netip.Prefix, error)    // the address that is left by to other networks, with its network's length
	Try     func(ctx context.Context, at netip.AddrPort) error // why it is not the Docker host that answers there; nil: [IsSession]
	Now     func() time.Time
}

const (
	// Life is how long a detected address is used: the document's five minutes.
	Life = 5 * time.Minute
	// pause is the time between two searches after a failed one: a server that starts is probed several times a second.
	pause = time.Second

	resolveTimeout = 2 * time.Second
	tryTimeout     = time.Second
)

// Candidate is an address that may be the Docker host's.
type Candidate struct {
	Source Source
	Addr   netip.Addr // invalid: the source has none
	Err    error      // why it is not used; nil: the expected server answered there
}

// Result is the result of a search.
type Result struct {
	Candidates []Candidate
	Addr       netip.Addr // the address in use; invalid: none
	Source     Source
	Port       uint16 // that was tried
	At         time.Time
}

// Detector finds the Docker host, and caches the result. It is safe for concurrent use.
type Detector struct {
	opts Options

	mu   sync.Mutex
	last Result
	err  error // of last
}

// New returns a detector that has not searched yet.
func New(opts Options) *Detector {
	opts.Routes = cmp.Or(opts.Routes, "/proc/net/route")
	opts.Routes6 = cmp.Or(opts.Routes6, "/proc/net/ipv6_route")
	if opts.Resolve == nil {
		opts.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	if opts.Own == nil {
		opts.Own = own
	}
	if opts.Try == nil {
		opts.Try = IsSession
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Detector{opts: opts}
}

// Detect returns the host that answers as expected on a port that the Docker host publishes. The result is cached
// for [Life], or until [Detector.Forget]. When nothing answers it is a CodeEngineUnavailable error that names the remedies,
// except that HOST_IP is used in any case: the result's candidate says that nothing answers there.
func (d *Detector) Detect(ctx context.Context, port uint16) (Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	age := d.opts.Now().Sub(d.last.At)
	if !d.last.At.IsZero() && (d.err == nil && age < Life || d.err != nil && age < pause && d.last.Port == port) {
		return d.last, d.err
	}
	found, err := d.search(ctx, port)
	if ctx.Err() == nil { // else the caller has canceled
		d.last, d.err = found, err
	}
	return found, err
}

// Forget makes the next Detect search again.
func (d *Detector) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.err = Result{}, nil
}

// Reach returns where a port that the Docker host publishes on one of its addresses is reached from here. HOST_IP replaces any
// address; the detected one replaces an unspecified one, or one that only the host itself can reach. Without a detected one the
// address stays as it is.
func (d *Detector) Reach(ctx context.Context, bound netip.AddrPort) netip.AddrPort {
	if d.opts.HostIP == "" && !bound.Addr().IsLoopback() && !bound.Addr().IsUnspecified() {
		return bound
	}
	found, err := d.Detect(ctx, bound.Port())
	if err != nil {
		return bound
	}
	return netip.AddrPortFrom(found.Addr, bound.Port())
}

// search tries all candidates at once, and returns the first in order that answers.
func (d *Detector) search(ctx context.Context, port uint16) (Result, error) {
	r := Result{Candidates: d.candidates(ctx), Port: port, At: d.opts.Now()}
	var tries sync.WaitGroup
	for i := range r.Candidates {
		c := &r.Candidates[i]
		if c.Err != nil {
			continue
		}
		tries.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, tryTimeout)
			defer cancel()
			c.Err = d.opts.Try(ctx, netip.AddrPortFrom(c.Addr, port))
		})
	}
	tries.Wait()
	for _, c := range r.Candidates {
		if c.Addr.IsValid() && (c.Err == nil || c.Source == Forced) {
			r.Addr, r.Source = c.Addr, c.Source
			return r, nil
		}
	}
	return r, ErrNotDetected
}

// ErrNotDetected is what [Detector.Detect] returns when nothing answers anywhere.
var ErrNotDetected = session.Errorf(session.CodeEngineUnavailable, "Could not detect Docker host IP: see what was tried with "+
	"\"berth hostip\", look at the network with \"docker network inspect bridge\", see that \"ping host.docker.internal\" works from here, "+
	"or set HOST_IP to the Docker host's address")
