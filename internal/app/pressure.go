package app

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"berth/internal/config"
	"berth/internal/httpapi"
	"berth/internal/pressure"
	"berth/internal/telemetry"
)

// pressures is the watch over the host that bounds how many sessions may begin.
type pressures struct {
	monitor   *pressure.Monitor
	elsewhere bool // the engine is on another machine
}

func (a *App) watchPressure(ctx context.Context) error {
	p := pressures{
		elsewhere: a.cfg.Session.Runtime == config.RuntimeDocker && !engineIsHere(ctx, a.cfg.Docker.Host),
	}
	log := a.named("pressure")
	limits := a.cfg.Limits
	opts := pressure.Options{
		Source:        pressure.NewHost(pressure.HostOptions{Children: a.cfg.Session.Runtime == config.RuntimeProcess}),
		MemoryWarning: limits.MemoryWarning, CPUWarning: limits.CPUWarning, Critical: limits.Critical, Elsewhere: p.elsewhere, Logger: log,
		OnChange: func(c pressure.Change) {
			a.metrics.PressureChanged(c)
			speakOf(context.WithoutCancel(ctx), log, c)
		},
	}
	for _, change := range a.around.pressure {
		change(&opts)
	}
	var err error
	p.monitor, err = pressure.New(opts)
	a.pressure = p
	return err
}

// speakOf logs one change.
func speakOf(ctx context.Context, log *slog.Logger, c pressure.Change) {
	log = log.With("resource", c.Resource, "pressure", c.To.String(), "before", c.From.String(), "value", round(c.Value), "threshold", c.Threshold)
	switch {
	case c.To == pressure.Critical:
		log.Log(ctx, telemetry.LevelCritical, "host pressure is critical; no session is started")
	case c.To == pressure.Warning && c.From < c.To:
		log.WarnContext(ctx, "host pressure is high")
	case c.To == pressure.Unknown:
		log.WarnContext(ctx, "host pressure is not known any more; sessions are started all the same")
	default:
		log.InfoContext(ctx, "host pressure has eased")
	}
}

// report puts what is known into the operator's view.
func (p pressures) report(h *httpapi.Health) {
	s := p.monitor.Snapshot()
	r := &httpapi.SystemResources{Status: s.Level().String(), Host: "engine"}
	if p.elsewhere {
		r.Host = "berth"
	}
	if !s.At.IsZero() {
		r.MeasuredAt, r.Memory, r.CPU = &s.At, new(round(s.Memory.Value)), new(round(s.CPU.Value))
		r.MemoryStall, r.CPUStall = stallOf(s.Memory), stallOf(s.CPU)
	}
	h.Resources, h.Alerts = r, []httpapi.ResourceAlert{}
	for _, a := range s.Alerts() {
		h.Alerts = append(h.Alerts, httpapi.ResourceAlert{
			Resource: string(a.Resource), Level: a.Level.String(), Value: round(a.Value), Threshold: a.Threshold, Since: a.Since, Message: a.Sentence,
		})
	}
}

func stallOf(s pressure.State) *httpapi.Stall {
	if s.Stall == nil {
		return nil
	}
	return &httpapi.Stall{Some: s.Stall.Some, Full: s.Stall.Full}
}

// round keeps four digits of a fraction.
func round(fraction float64) float64 { return float64(int(fraction*10_000+0.5)) / 10_000 }

// lookupTimeout bounds the question where the engine is.
const lookupTimeout = 2 * time.Second

// hostGateway is the name of the machine that a container runs on: its kernel is the container's.
const hostGateway = "host.docker.internal"

// engineIsHere reports whether the engine runs on this machine, so that its load is the one that is seen here. An engine
// whose name cannot be looked up counts as elsewhere.
func engineIsHere(ctx context.Context, endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "tcp" || u.Hostname() == hostGateway {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	theirs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return false
	}
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(theirs, func(ip netip.Addr) bool {
		return ip.Unmap().IsLoopback() || slices.ContainsFunc(ours, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr().Unmap() == ip.Unmap()
		})
	})
}
