// Package docker runs sessions in containers of a Docker engine: it is session.Runtime over the Engine API.
//
// It knows the API, from version 1.41 on; how a container is hardened, which no setting changes; which
// engine operations may run at once; and what the engine's answers mean in the domain's codes. It refuses to know
// certificates and where they come from (it is given a tls.Config), sessions beyond their labels, and what a server in
// a container does.
package docker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"berth/internal/session"

	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
	"golang.org/x/sync/semaphore"
)

const (
	minAPIVersion = "1.41" // Docker Engine 20.10: the first with private cgroup namespaces and one-shot statistics

	defaultNetwork          = "berth"
	defaultOperationTimeout = 60 * time.Second
	defaultCPUPeriod        = 100 * time.Millisecond
	publishAuto             = "auto"
)

// Options says which engine to use and how. Host and Instance are required.
type Options struct {
	Host     string      // "tcp://host:port" or "unix:///path"
	TLS      *tls.Config // client certificate and roots for a tcp host; nil: no TLS
	Instance string      // this installation's name, the label berth.instance of all that it makes

	Network          string        // bridge network of open sessions, made when it is missing; empty: "berth". The others' has "-internal" behind it
	Subnet           netip.Prefix  // IPv4, of the internal network when it is made; invalid: one that is free
	OpenSubnet       netip.Prefix  // the same of Network
	PublishIP        string        // address of the engine's host that ports are published on; empty or "auto": 127.0.0.1, or the private address of a remote engine
	Route            string        // [RoutePublished], [RouteNetwork], or empty or "auto": by the network where the engine's bridge is an interface here
	MaxOperations    int           // engine operations at once, stops not counted; 0: as many as the engine has CPUs
	Sequential       bool          // one operation at a time, whatever MaxOperations says
	CPUPeriod        time.Duration // in which a container gets its share of processor time; 0: 100 ms, as the kernel has it
	OperationTimeout time.Duration // for each operation, a stop's own time-out not counted; 0: 60 s

	// Reach says where a port that the engine's host publishes at an address is reached from here. nil: there.
	Reach func(ctx context.Context, bound netip.AddrPort) netip.AddrPort

	Logger *slog.Logger // nil: silent
}

func (o Options) validate() error {
	var faults []error
	if o.Host == "" {
		faults = append(faults, errors.New("the engine's host is missing"))
	}
	if o.Instance == "" {
		faults = append(faults, errors.New("the instance's name is missing"))
	}
	if !slices.Contains([]string{"", routeAuto, RoutePublished, RouteNetwork}, o.Route) {
		faults = append(faults, fmt.Errorf("the route %q is none of auto, published and network", o.Route))
	}
	if o.MaxOperations < 0 {
		faults = append(faults, errors.New("the number of engine operations at once is negative"))
	}
	if o.OperationTimeout < 0 {
		faults = append(faults, errors.New("the operation time-out is negative"))
	}
	if o.CPUPeriod < 0 {
		faults = append(faults, errors.New("the CPU period is negative"))
	}
	return errors.Join(faults...)
}

// Runtime runs containers on one Docker engine. It is safe for concurrent use.
type Runtime struct {
	api       *client.Client
	pinger    *client.Client // makes a connection for each request
	pool      *pool
	instance  string
	open      *sessionNetwork
	internal  *sessionNetwork
	publish   netip.Addr
	route     string
	reach     func(context.Context, netip.AddrPort) netip.AddrPort
	slots     *semaphore.Weighted // engine operations; reads need none
	stops     *semaphore.Weighted // stops, which wait for servers; the same as slots where operations are sequential
	pings     *pool               // of the pinger
	networkMu *semaphore.Weighted // one at a time looks for and makes the network
	timeout   time.Duration
	cpuPeriod time.Duration
	log       *slog.Logger
	engine    Engine
	seccomp   bool // whether containers get Berth's profile

	engineHere bool // this machine's routes are those of the engine's host, as far as is known
}

var (
	_ session.Runtime = (*Runtime)(nil)
	_ session.Pauser  = (*Runtime)(nil)
)

// Engine is what is known of the engine since [Open].
type Engine struct {
	Version    string     // of the engine, such as "20.10.24"
	APIVersion string     // negotiated with it, such as "1.41"
	CPUs       int        // that it has
	Operations int        // how many may run on it at once
	PublishIP  netip.Addr // that sessions are published on
	RootDir    string     // where it keeps everything, on its own machine
}

// Open connects to the engine and checks that it can be used. Every failure to reach it is a CodeEngineUnavailable
// error whose message says what to do; an unusable setting is CodeInvalid.
func Open(ctx context.Context, opts Options) (*Runtime, error) {
	if err := opts.validate(); err != nil {
		return nil, session.Errorf(session.CodeInvalid, "%v", err)
	}
	timeout := cmp.Or(opts.OperationTimeout, defaultOperationTimeout)
	log := cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	at, err := parseEndpoint(opts.Host, opts.TLS)
	if err != nil {
		return nil, err
	}
	publish, err := publishIP(ctx, opts.PublishIP, at, lookupIP)
	if err != nil && opts.Route != RouteNetwork {
		return nil, err
	}
	r := &Runtime{
		pool:     newPool(func() *http.Transport { return at.transport(opts.MaxOperations) }),
		instance: opts.Instance,
		open:     newOpenNetwork(cmp.Or(opts.Network, defaultNetwork), opts.OpenSubnet),
		internal: newInternalNetwork(cmp.Or(opts.Network, defaultNetwork), opts.Subnet),
		publish:  publish,
		route:    routeOf(opts),
		reach:    opts.Reach,
		pings: newPool(func() *http.Transport {
			transport := at.transport(1)
			transport.DisableKeepAlives = true
			return transport
		}),
		networkMu: semaphore.NewWeighted(1),
		timeout:   timeout,
		cpuPeriod: cmp.Or(opts.CPUPeriod, defaultCPUPeriod),
		log:       log,

		engineHere: isHere(at),
	}
	if err := r.connect(ctx, at, opts); err != nil {
		r.CloseIdle()
		return nil, err
	}
	return r, nil
}

// connect negotiates the API's version, and reads what the engine can do.
func (r *Runtime) connect(ctx context.Context, at endpoint, opts Options) error {
	httpClient := func(p *pool) *http.Client {
		return &http.Client{Transport: roundTripper{p}, CheckRedirect: client.CheckRedirect}
	}
	version, err := at.negotiate(ctx, httpClient(r.pool))
	if err != nil {
		return err
	}
	// WithHost replaces the dialer of the client that it finds, so ours must come after it.
	over := func(p *pool) (*client.Client, error) {
		return client.New(client.WithHost(opts.Host), client.WithHTTPClient(httpClient(p)), client.WithScheme(at.scheme), client.WithAPIVersion(version))
	}
	if r.api, err = over(r.pool); err == nil {
		r.pinger, err = over(r.pings)
	}
	if err != nil {
		return session.Errorf(session.CodeInvalid, "DOCKER_HOST %q cannot be used", opts.Host).Because(err)
	}
	info, err := r.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return r.failure(ctx, "ask the engine what it is", err)
	}
	if info.Info.OSType != "" && info.Info.OSType != "linux" {
		return session.Errorf(session.CodeEngineUnavailable,
			"the engine at %s runs %s containers; Berth needs one that runs Linux containers", opts.Host, info.Info.OSType)
	}
	cpus := max(1, info.Info.NCPU)
	operations := cmp.Or(opts.MaxOperations, cpus)
	if opts.Sequential {
		operations = 1
	}
	r.slots = semaphore.NewWeighted(int64(operations))
	r.stops = semaphore.NewWeighted(maxStops)
	if opts.Sequential {
		r.stops = r.slots
	}
	r.engine = Engine{
		Version: info.Info.ServerVersion, APIVersion: version, CPUs: cpus, Operations: operations, PublishIP: r.publish,
		RootDir: info.Info.DockerRootDir,
	}
	r.log.InfoContext(ctx, "docker engine connected", "host", opts.Host, "engine_version", r.engine.Version,
		"api_version", version, "operations", operations, "publish_ip", r.publish.String())
	r.seccomp = takesSeccomp(info.Info.SecurityOptions)
	if !r.seccomp && !hasSeccomp(info.Info.SecurityOptions) {
		r.log.WarnContext(ctx, "docker engine applies no seccomp profile", "host", opts.Host)
	}
	return nil
}

// Engine returns what was found when the runtime was opened.
func (r *Runtime) Engine() Engine { return r.engine }

// Ping returns nil when the engine answers over a new connection. An engine that is stopping ends its containers and still
// answers on open connections, but accepts no new ones.
func (r *Runtime) Ping(ctx context.Context) error {
	return r.read(ctx, "ping the engine", func(ctx context.Context) error {
		_, err := r.pinger.Ping(ctx, client.PingOptions{})
		return err
	})
}

// CloseIdle closes the connections that no request is using.
func (r *Runtime) CloseIdle() { r.pool.CloseIdleConnections() }

// Renew makes later requests use new connections, with the present certificates. Requests in flight finish on their
// connections; a [Runtime.Watch] ends, so that the caller opens it again.
func (r *Runtime) Renew() {
	r.pool.renew()
	r.pings.renew()
}

// Close closes idle connections. Containers keep running; requests in flight end by themselves.
func (r *Runtime) Close() error {
	r.CloseIdle()
	return nil
}

// supports reports whether the negotiated API version is the given one or newer.
func (r *Runtime) supports(version string) bool {
	return versions.GreaterThanOrEqualTo(r.engine.APIVersion, version)
}
