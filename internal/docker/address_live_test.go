package docker_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/moby/moby/client"

	"berth/internal/docker"
	"berth/internal/dockertest"
)

// The test engine shares this network namespace, so that "auto" is the network.
func TestNetworkRoutePublishesNoPort(t *testing.T) {
	t.Parallel()
	for _, route := range []string{"auto", docker.RouteNetwork} {
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			w := setup(t, func(o *docker.Options) { o.Route = route })
			c := w.up(t, w.spec("direct")) // it has answered there
			read, err := dockertest.Client(t).ContainerInspect(t.Context(), c.ID, client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for port, bound := range read.Container.NetworkSettings.Ports {
				if len(bound) > 0 {
					t.Errorf("%s is published at %v", port, bound)
				}
			}
			at := netip.MustParseAddrPort(c.Address)
			if own := read.Container.NetworkSettings.Networks[w.instance].IPAddress; at.Addr() != own || int(at.Port()) != w.profile.Port {
				t.Errorf("reached at %s, want the container's own %s and port %d", at, own, w.profile.Port)
			}
		})
	}
}

// A container that exists when the setting changes keeps its route.
func TestContainersKeepTheirRoute(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *docker.Options) { o.Route = docker.RoutePublished })
	published := w.up(t, w.spec("published"))
	later, err := docker.Open(t.Context(), docker.Options{Host: w.host, Instance: w.instance, Network: w.instance, Route: docker.RouteNetwork})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = later.Close() })
	direct, err := later.Create(t.Context(), w.spec("direct"))
	if err == nil {
		err = later.Start(t.Context(), direct.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, runtime := range []*docker.Runtime{w.Runtime, later} {
		one, err := runtime.Inspect(t.Context(), published.ID)
		if err != nil || one.Address != published.Address {
			t.Errorf("the published one: got %s, %v; want %s", one.Address, err, published.Address)
		}
		two, err := runtime.Inspect(t.Context(), direct.ID)
		if err != nil || two.Address == "" || netip.MustParseAddrPort(two.Address).Addr().IsLoopback() {
			t.Errorf("the direct one: got %q, %v; want its own address", two.Address, err)
		}
	}
	if err := later.Stop(t.Context(), direct.ID, 0); err != nil {
		t.Fatal(err)
	}
	if gone, err := later.Inspect(t.Context(), direct.ID); err != nil || gone.Address != "" {
		t.Errorf("while stopped: got %q, %v; want no address", gone.Address, err)
	}
}

// Where the host's addresses are not reachable as such, Reach translates them.
func TestReachOptionDecidesAddressOfPublishedPort(t *testing.T) {
	t.Parallel()
	asked := make(chan netip.AddrPort, 100)
	w := setup(t, func(o *docker.Options) {
		o.Route = docker.RoutePublished
		o.Reach = func(_ context.Context, bound netip.AddrPort) netip.AddrPort {
			asked <- bound
			return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), bound.Port())
		}
	})
	spec := w.spec("elsewhere")
	c, err := w.Create(t.Context(), spec)
	if err == nil {
		err = w.Start(t.Context(), c.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c, err = w.Inspect(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	bound := <-asked
	if host, port, _ := net.SplitHostPort(c.Address); host != "127.0.0.2" || !bound.Addr().IsLoopback() || netip.MustParseAddrPort(c.Address).Port() != bound.Port() {
		t.Errorf("got %s:%s for the port that is bound at %s", host, port, bound)
	}
}
