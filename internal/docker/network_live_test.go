package docker_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/session"
)

// gateways returns the internal and the open one of a fixture.
func (w fixture) gateways(t *testing.T) (internal, open docker.Gateway) {
	t.Helper()
	all, err := w.Gateways(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("gateways = %v, %v; want two", all, err)
	}
	return all[0], all[1]
}

func TestGatewaysAreTheFirstAddressesOfBothNetworks(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	internal, open := w.gateways(t)
	if !internal.Internal || open.Internal || internal.Network != w.instance+"-internal" || open.Network != w.instance {
		t.Errorf("gateways = %+v, %+v; want the internal network's first", internal, open)
	}
	for _, g := range []docker.Gateway{internal, open} {
		if g.Address != g.Subnet.Addr().Next() || !g.Local || !strings.HasPrefix(g.Bridge, "berth") {
			t.Errorf("gateway = %+v, want the subnet's first address, on a bridge of this machine", g)
		}
	}
	read, err := dockertest.Client(t).NetworkInspect(t.Context(), internal.Network, client.NetworkInspectOptions{})
	if n := read.Network; err != nil || !n.Internal || n.EnableIPv6 || n.Options["com.docker.network.bridge.enable_icc"] != "false" {
		t.Errorf("internal network = %+v, %v; want no way out, no IPv6, no neighbours", n, err)
	}
	if again, _ := w.gateways(t); again != internal {
		t.Errorf("the second time: %+v, want %+v", again, internal)
	}
}

// Published ports do not exist on an internal network, so the route that is set does not matter there.
func TestListedContainerIsReachedAtItsAddress(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *docker.Options) { o.Route = docker.RoutePublished })
	spec := w.spec("listed")
	spec.Egress = session.EgressListed
	c := w.up(t, spec)
	internal, _ := w.gateways(t)
	at := netip.MustParseAddrPort(c.Address)
	if at.Addr() != c.NetworkIP || !internal.Subnet.Contains(c.NetworkIP) {
		t.Errorf("reached at %s with the address %s, want one of %s", at, c.NetworkIP, internal.Subnet)
	}
	if parts, err := w.Drift(t.Context(), c.ID, spec); err != nil || len(parts) > 0 {
		t.Errorf("drift = %v, %v; want none", parts, err)
	}
	spec.Egress = session.EgressNone
	if parts, err := w.Drift(t.Context(), c.ID, spec); err != nil || len(parts) > 0 {
		t.Errorf("drift = %v, %v; want none: the network is the same", parts, err)
	}
	spec.Egress = session.EgressOpen
	if parts, err := w.Drift(t.Context(), c.ID, spec); err != nil || len(parts) != 1 || parts[0] != session.PartProfile {
		t.Errorf("drift = %v, %v; want the profile, which decides the network", parts, err)
	}
}

func TestContainerOfOpenNetworkDriftsWhenItsSessionIsListed(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *docker.Options) { o.Route = docker.RoutePublished })
	spec := w.spec("before")
	c := w.up(t, spec)
	if _, open := w.gateways(t); !open.Subnet.Contains(c.NetworkIP) {
		t.Errorf("address %s, want one of %s, although its port is published", c.NetworkIP, open.Subnet)
	}
	spec.Egress = session.EgressListed
	parts, err := w.Drift(t.Context(), c.ID, spec)
	if err != nil || len(parts) != 1 || parts[0] != session.PartProfile {
		t.Errorf("drift = %v, %v; want the profile", parts, err)
	}
	if again, err := w.Inspect(t.Context(), c.ID); err != nil || again.Address != c.Address {
		t.Errorf("address = %q, %v; want %q until it is replaced", again.Address, err, c.Address)
	}
}

func TestNetworkGetsSetSubnetWhenNoContainerRunsOnIt(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("stays")
	spec.Egress = session.EgressListed
	c := w.up(t, spec)
	before, _ := w.gateways(t)
	wanted := netip.PrefixFrom(before.Subnet.Addr(), 24)
	reopened := func() *docker.Runtime {
		r, err := docker.Open(t.Context(), docker.Options{Host: w.host, Instance: w.instance, Network: w.instance, Subnet: wanted})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	all, err := reopened().Gateways(t.Context())
	if err != nil || all[0] != before {
		t.Errorf("gateways = %v, %v; want the network as it is while a container runs on it", all, err)
	}
	if err := w.Stop(t.Context(), c.ID, 0); err != nil {
		t.Fatal(err)
	}
	later := reopened()
	if all, err = later.Gateways(t.Context()); err != nil || all[0].Subnet != wanted {
		t.Fatalf("gateways = %v, %v; want the subnet %s", all, err, wanted)
	}
	if err := later.Start(t.Context(), c.ID); err != nil {
		t.Fatalf("start a container of the previous network: %v", err)
	}
	if got, err := later.Inspect(t.Context(), c.ID); err != nil || !wanted.Contains(got.NetworkIP) {
		t.Errorf("address = %s, %v; want one of %s", got.NetworkIP, err, wanted)
	}
}

func TestOccupiedSubnetIsNamedWithItsSetting(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	internal, _ := w.gateways(t)
	other := setup(t, func(o *docker.Options) { o.OpenSubnet = netip.PrefixFrom(internal.Subnet.Addr(), 24) })
	_, err := other.Create(t.Context(), other.spec("none"))
	wantCode(t, err, session.CodeConflict, "two networks cannot have one subnet")
	if text := session.MessageOf(err); !strings.Contains(text, "SESSION_OPEN_SUBNET") || !strings.Contains(text, internal.Network) {
		t.Errorf("message = %q, want the setting and the other network named", text)
	}
}

func TestNetworkThatIsNotInternalIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	_, err := dockertest.Client(t).NetworkCreate(t.Context(), w.instance+"-internal", client.NetworkCreateOptions{
		Driver: "bridge", Labels: map[string]string{"berth.instance": w.instance},
		Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
	})
	if err != nil {
		t.Fatalf("make a network: %v", err)
	}
	spec := w.spec("listed")
	spec.Egress = session.EgressListed
	_, err = w.Create(t.Context(), spec)
	wantCode(t, err, session.CodeConflict, "the container would reach the outside")
}
