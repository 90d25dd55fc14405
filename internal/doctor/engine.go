package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"berth/internal/config"
	"berth/internal/engineaddr"
	"berth/internal/pin"
	"berth/internal/pki"
)

const (
	labelSession  = "berth.session"  // marks the containers of sessions
	labelInstance = "berth.instance" // the installation
	labelPort     = "berth.port"     // the server's port in its container

	engineTimeout = 10 * time.Second // of connections to the engine and their handshakes
)

// Engine has the methods of a Docker engine that the checks call. *client.Client implements it.
type Engine interface {
	Info(ctx context.Context, options client.InfoOptions) (client.SystemInfoResult, error)
	ContainerList(ctx context.Context, options client.ContainerListOptions) (client.ContainerListResult, error)
	ContainerInspect(ctx context.Context, id string, options client.ContainerInspectOptions) (client.ContainerInspectResult, error)
	NetworkInspect(ctx context.Context, network string, options client.NetworkInspectOptions) (client.NetworkInspectResult, error)
}

var _ Engine = (*client.Client)(nil)

// ErrNoEngine is returned for settings that use no engine.
var ErrNoEngine = errors.New("sessions run as processes, without an engine (BERTH_RUNTIME=process)")

// FromConfig returns the options for an installation with these settings, which may be faulty. The engine is connected at the
// first call; done closes the connection.
func FromConfig(cfg config.Config) (o Options, done func()) {
	o.Config = cfg
	engine, err := o.newClient()
	if err != nil {
		o.EngineErr = err
		return o, func() {}
	}
	o.Engine = engine
	return o, func() { _ = engine.Close() }
}

// newClient makes a client of the engine. It ignores proxy settings of the environment: the engine is on a local network.
func (o *Options) newClient() (*client.Client, error) {
	if o.Config.Session.Runtime == config.RuntimeProcess {
		return nil, ErrNoEngine
	}
	d := o.Config.Docker
	options := []client.Opt{client.WithHost(d.Host)}
	if host, port := o.engineHost(); host != "" {
		pins, err := pin.ParseList(d.TLSPin)
		if err != nil {
			return nil, err
		}
		conf, _, err := pki.LoadClientTLS(pki.Paths{CA: d.CACert, Cert: d.ClientCert, Key: d.ClientKey}, pki.ClientOptions{ServerName: host, Pins: pins})
		if err != nil {
			return nil, err
		}
		dialer := &net.Dialer{Timeout: engineTimeout}
		transport := &http.Transport{
			TLSClientConfig: conf, TLSHandshakeTimeout: engineTimeout, IdleConnTimeout: 30 * time.Second,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
			},
		}
		options = append(options, client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}), client.WithScheme("https"))
	}
	api, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("make a client of the engine: %w", err)
	}
	return api, nil
}

func (o *Options) noEngine() []Finding {
	if errors.Is(o.EngineErr, ErrNoEngine) {
		return []Finding{skip("no-engine-used", "%v", ErrNoEngine)}
	}
	if o.EngineErr != nil {
		return []Finding{notAnswered(o.EngineErr)}
	}
	return []Finding{skip("engine-not-reached", "the engine could not be asked")}
}

// notAnswered returns the finding for a failed call of the engine.
func notAnswered(err error) Finding {
	return skip("engine-not-reached", "the engine could not be asked: %v", err)
}

func (o *Options) info(ctx context.Context) (system.Info, []Finding) {
	if o.Engine == nil {
		return system.Info{}, o.noEngine()
	}
	result, err := o.Engine.Info(ctx, client.InfoOptions{})
	if err != nil {
		return system.Info{}, []Finding{notAnswered(err)}
	}
	return result.Info, nil
}

// sessions returns the running containers of sessions: those of Options.Instance, or of every installation.
func (o *Options) sessions(ctx context.Context) ([]container.Summary, []Finding) {
	if o.Engine == nil {
		return nil, o.noEngine()
	}
	mine := client.Filters{}.Add("label", labelSession)
	if o.Instance != "" {
		mine.Add("label", labelInstance+"="+o.Instance)
	}
	list, err := o.Engine.ContainerList(ctx, client.ContainerListOptions{Filters: mine})
	if err != nil {
		return nil, []Finding{notAnswered(err)}
	}
	return list.Items, nil
}

// inspect checks the containers of sessions as the engine runs them. It skips those that have ended since they were listed.
func (o *Options) inspect(ctx context.Context, sessions []container.Summary, judge func(name string, host *container.HostConfig) []Finding) []Finding {
	var findings []Finding
	for _, s := range sessions {
		got, err := o.Engine.ContainerInspect(ctx, s.ID, client.ContainerInspectOptions{})
		switch {
		case errdefs.IsNotFound(err):
		case err != nil:
			findings = append(findings, notAnswered(err))
		case got.Container.HostConfig != nil:
			findings = append(findings, judge(nameOf(s), got.Container.HostConfig)...)
		}
	}
	return findings
}

func nameOf(c container.Summary) string {
	if len(c.Names) > 0 {
		return strings.TrimPrefix(c.Names[0], "/")
	}
	return c.ID
}

// engineHost returns the host and port of the engine; empty for a local socket.
func (o *Options) engineHost() (host, port string) {
	engine, err := engineaddr.ParseTCP(o.Config.Docker.Host)
	if err != nil {
		return "", ""
	}
	return engine.Host, cmp.Or(engine.Port, engineaddr.PortTLS)
}

// engineAddrs returns the addresses of the engine's host.
func (o *Options) engineAddrs(ctx context.Context) ([]netip.Addr, error) {
	host, _ := o.engineHost()
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	names, err := o.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			addrs = append(addrs, ip.Unmap())
		}
	}
	return addrs, nil
}

// engineIsHere reports whether the engine runs on this machine, and not in another one or outside of this container.
func (o *Options) engineIsHere(ctx context.Context) bool {
	if host, _ := o.engineHost(); host == "" {
		return true
	}
	theirs, err := o.engineAddrs(ctx)
	if err != nil {
		return false
	}
	ours, err := o.LocalAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(theirs, func(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(ours, a) })
}
