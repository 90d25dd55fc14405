package docker

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"berth/internal/session"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Routes to new containers. A container keeps the route that it was made for.
const (
	RoutePublished = "published" // at a port of the engine's host
	RouteNetwork   = "network"   // at its own address; no port is published
	routeAuto      = "auto"
)

// routeOf returns the configured route: an address to publish on implies published ports.
func routeOf(o Options) string {
	switch {
	case o.Route != "" && o.Route != routeAuto:
		return o.Route
	case o.PublishIP != "" && o.PublishIP != publishAuto:
		return RoutePublished
	}
	return routeAuto
}

// attachment is how a new container is connected.
type attachment struct {
	network string
	dns     netip.Addr // its name server; invalid: the engine's host's
	direct  bool       // it publishes no port
}

// attach returns how a new container is connected, and makes its network if it is missing. It returns a CodeInvalid error
// for a container that would not be reached: an internal network publishes no ports.
func (r *Runtime) attach(ctx context.Context, egress session.EgressMode) (attachment, error) {
	n := r.networkOf(egress)
	on, err := r.ensureNetwork(ctx, n)
	if err != nil {
		return attachment{}, err
	}
	a := attachment{network: n.name, direct: r.direct(n, on)}
	if !n.internal {
		return a, nil
	}
	if !a.direct {
		return attachment{}, session.Errorf(session.CodeInvalid, "a session with egress %q cannot be reached from here: its network publishes no ports. "+
			"Run Berth on the engine's host, outside of containers, or set egress: open in the image profile", egress)
	}
	_, a.dns = subnetOf(on)
	return a, nil
}

// direct reports whether a new container is reached at its own address, without a published port. "auto" does so where this
// process shares the engine's network namespace: the bridge is an interface here then, and the host reaches every container
// on it. A container on the bridge would not: containers of the sessions' network cannot reach each other. On an internal
// network that is the only way, whatever is set.
func (r *Runtime) direct(n *sessionNetwork, on network.Summary) bool {
	switch {
	case r.route == RouteNetwork:
		return true
	case r.route == RoutePublished && !n.internal:
		return false
	}
	_, err := net.InterfaceByName(interfaceOf(on))
	return err == nil
}

// address is where the server is reached: at its published port, as seen from here, or at the container's own address, if it
// was made for that. "" while it has neither.
func (r *Runtime) address(ctx context.Context, c container.InspectResponse) string {
	if bound, ok := bindings(c.NetworkSettings.Ports); ok {
		if r.reach != nil {
			bound = r.reach(ctx, bound)
		}
		if !bound.Addr().IsValid() || bound.Addr().IsUnspecified() {
			bound = netip.AddrPortFrom(r.publish, bound.Port())
		}
		return bound.String()
	}
	at := r.networkIP(c)
	port, err := strconv.ParseUint(c.Config.Labels[labelPort], 10, 16)
	if !at.IsValid() || err != nil || len(c.HostConfig.PortBindings) > 0 {
		return ""
	}
	return netip.AddrPortFrom(at, uint16(port)).String()
}

// networkIP is the container's address on the sessions' network that it was made for; invalid while it has none.
func (r *Runtime) networkIP(c container.InspectResponse) netip.Addr {
	n := r.networkFor(c)
	if n == nil || c.NetworkSettings == nil || c.NetworkSettings.Networks[n.name] == nil {
		return netip.Addr{}
	}
	return c.NetworkSettings.Networks[n.name].IPAddress.Unmap()
}
