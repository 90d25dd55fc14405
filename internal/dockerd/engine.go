package dockerd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
)

const (
	askTimeout = 10 * time.Second
	pollPause  = 200 * time.Millisecond
)

// endpointOf splits an address of the engine such as unix:///var/run/docker.sock.
func endpointOf(host string) (network, address string) {
	network, address, _ = strings.Cut(host, "://")
	return network, address
}

// dialAddress is where an address that is listened on can be reached from the machine itself.
func dialAddress(listen netip.AddrPort) string {
	addr := listen.Addr()
	switch {
	case addr.IsUnspecified() && addr.Is4():
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case addr.IsUnspecified():
		addr = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(addr, listen.Port()).String()
}

// ask asks the engine on its socket.
func (s *Setup) ask(ctx context.Context, endpoint string, question func(context.Context, *client.Client) error) error {
	network, address := endpointOf(endpoint)
	api, err := client.New(client.WithHost(endpoint), client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.host.Dial(ctx, network, address)
	}))
	if err != nil {
		return err
	}
	defer func() { _ = api.Close() }()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return question(ctx, api)
}

// answers reports whether the engine is reached as before a set-up: it must answer on its socket, and on TCP accept a
// connection, because the clients that it trusts there are not known here.
func (s *Setup) answers(ctx context.Context, endpoint string) error {
	network, address := endpointOf(endpoint)
	if network == "unix" {
		return s.ask(ctx, endpoint, func(ctx context.Context, api *client.Client) error {
			_, err := api.Ping(ctx, client.PingOptions{})
			return err
		})
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := s.host.Dial(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// info asks the engine about itself.
func (s *Setup) info(ctx context.Context, endpoint string) (info system.Info, err error) {
	err = s.ask(ctx, endpoint, func(ctx context.Context, api *client.Client) error {
		found, err := api.Info(ctx, client.InfoOptions{})
		info = found.Info
		return err
	})
	return info, err
}

// poll calls until there is no error or the time-out has passed. A call that was started in time is not interrupted.
func (s *Setup) poll(ctx context.Context, ask func(context.Context) error) error {
	over := time.NewTimer(s.opts.Timeout)
	defer over.Stop()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-over.C:
			return err
		case <-tick.C:
		}
	}
}

// sessionBridges are the bridges of sessions' networks that [SessionBridges] does not match, because an earlier version made
// them, or the configured network is not Berth's.
func (s *Setup) sessionBridges(ctx context.Context, endpoint string) (bridges []string, err error) {
	const idLength = 12 // of the network's ID, in the name that the engine gives its bridge
	err = s.ask(ctx, endpoint, func(ctx context.Context, api *client.Client) error {
		labelled, err := api.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("label", "berth.network")})
		if err != nil {
			return fmt.Errorf("ask the engine for the sessions' networks: %w", err)
		}
		networks := labelled.Items
		if s.opts.Network != "" {
			named, err := api.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("name", s.opts.Network)})
			if err != nil {
				return fmt.Errorf("ask the engine for the network %s: %w", s.opts.Network, err)
			}
			for _, n := range named.Items {
				if n.Name == s.opts.Network { // the engine also finds names that only contain it
					networks = append(networks, n)
				}
			}
		}
		for _, n := range networks {
			name := n.Options["com.docker.network.bridge.name"]
			if name == "" && len(n.ID) >= idLength {
				name = "br-" + n.ID[:idLength]
			}
			if n.Driver == "bridge" && name != "" && !strings.HasPrefix(name, strings.TrimSuffix(SessionBridges, "+")) {
				bridges = append(bridges, name)
			}
		}
		return nil
	})
	slices.Sort(bridges)
	return slices.Compact(bridges), err
}
