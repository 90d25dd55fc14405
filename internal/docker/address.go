package docker

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strconv"

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

// direct reports whether a new container is reached at its own address, without a published port. "auto" does so where this
// process shares the engine's network namespace: the bridge is an interface here then, and the host reaches every container
// on it. A container on the bridge would not: containers of the sessions' network cannot reach each other.
func (r *Runtime) direct(n network.Summary) bool {
	switch r.route {
	case RouteNetwork:
		return true
	case RoutePublished:
		return false
	}
	const idLength = 12
	if len(n.ID) < idLength {
		return false
	}
	_, err := net.InterfaceByName(cmp.Or(n.Options[bridgeName], "br-"+n.ID[:idLength]))
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
	at := c.NetworkSettings.Networks[r.network]
	port, err := strconv.ParseUint(c.Config.Labels[labelPort], 10, 16)
	if at == nil || !at.IPAddress.IsValid() || err != nil || len(c.HostConfig.PortBindings) > 0 {
		return ""
	}
	return netip.AddrPortFrom(at.IPAddress.Unmap(), uint16(port)).String()
}
