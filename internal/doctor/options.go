package doctor

import (
	"context"
	"net"
	"net/netip"
	"time"

	"berth/internal/config"
	"berth/internal/hostip"
	"berth/internal/pressure"
)

// Options are the inputs of the checks. Config is required; functions that are nil inspect this machine.
type Options struct {
	Config    config.Config
	ConfigErr error // of config.Load; Config holds what could be read then

	Engine    Engine // nil: not reached
	EngineErr error  // why there is no Engine
	Instance  string // installation of the checked sessions; empty: any

	ComposePaths []string                         // compose files, and directories that hold some; none: the working directory
	Credentials  string                           // directory of the supervisor's credentials (CREDENTIALS_DIRECTORY); empty: none
	LookupEnv    func(name string) (string, bool) // for variables in compose files; nil: none is set
	Sockets      []string                         // engine sockets beside the usual ones

	DaemonConfig string // the engine's configuration file; empty: /etc/docker/daemon.json

	LookupHost    func(ctx context.Context, host string) ([]string, error)
	DetectHost    func(ctx context.Context, port uint16, try func(context.Context, netip.AddrPort) error) (hostip.Result, error)
	LocalAddrs    func() ([]netip.Addr, error)              // addresses of this machine
	Listeners     func() ([]netip.AddrPort, error)          // TCP ports that are listened on here
	FirewallRules func(ctx context.Context) (string, error) // as the firewall prints them
	Load          func(ctx context.Context) (pressure.Sample, error)
	Now           func() time.Time
}

const defaultDaemonConfig = "/etc/docker/daemon.json"

func (o *Options) fill() {
	if o.LookupEnv == nil {
		o.LookupEnv = func(string) (string, bool) { return "", false }
	}
	if len(o.ComposePaths) == 0 {
		o.ComposePaths = []string{"."}
	}
	if o.DaemonConfig == "" {
		o.DaemonConfig = defaultDaemonConfig
	}
	if o.LookupHost == nil {
		o.LookupHost = net.DefaultResolver.LookupHost
	}
	if o.DetectHost == nil {
		d := o.Config.Docker
		o.DetectHost = func(ctx context.Context, port uint16, try func(context.Context, netip.AddrPort) error) (hostip.Result, error) {
			return hostip.New(hostip.Options{HostIP: d.ReachedAt, DockerHostGateway: d.HostGateway, Gateway: d.Gateway, Try: try}).Detect(ctx, port)
		}
	}
	if o.LocalAddrs == nil {
		o.LocalAddrs = hostip.LocalAddrs
	}
	if o.Listeners == nil {
		o.Listeners = func() ([]netip.AddrPort, error) { return listeners("/proc/net/tcp", "/proc/net/tcp6") }
	}
	if o.FirewallRules == nil {
		o.FirewallRules = firewallRules
	}
	if o.Load == nil {
		o.Load = pressure.NewHost(pressure.HostOptions{Children: o.Config.Session.Runtime == config.RuntimeProcess}).Sample
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}
