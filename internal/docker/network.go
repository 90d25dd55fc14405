package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// The option of a bridge network that names its interface. Without it the engine takes the network's ID.
const bridgeName = "com.docker.network.bridge.name"

const noNeighbours = "com.docker.network.bridge.enable_icc" // whether containers of the network reach each other

// sessionNetwork is one of the two networks of an installation. Containers on either do not reach each other.
type sessionNetwork struct {
	name     string
	bridge   string       // its interface on the engine's host
	internal bool         // nothing but the engine's host is reached from it, and no port is published
	subnet   netip.Prefix // as it was set; invalid: chosen when the network is made
	setting  string       // that sets the subnet
	first    netip.Prefix // what is chosen first; may be invalid

	compared atomic.Bool // the subnet of an existing network was compared with the set one
}

// internalSuffix is what the internal network's name has behind that of the open one.
const internalSuffix = "-internal"

func newOpenNetwork(name string, subnet netip.Prefix) *sessionNetwork {
	n := &sessionNetwork{name: name, bridge: bridgeOf(name, false), subnet: subnet, setting: "SESSION_OPEN_SUBNET"}
	if name == defaultNetwork {
		n.first = defaultOpenSubnet
	}
	return n
}

func newInternalNetwork(name string, subnet netip.Prefix) *sessionNetwork {
	n := &sessionNetwork{name: name + internalSuffix, bridge: bridgeOf(name, true), internal: true, subnet: subnet, setting: "SESSION_SUBNET"}
	if name == defaultNetwork {
		n.first = defaultSubnet
	}
	return n
}

// bridgeOf names the interface of a sessions' network, so that a firewall's rules can match it before there is one: all
// begin with "berth", and those of internal ones with "berthi".
func bridgeOf(network string, internal bool) string {
	prefix := "berth"
	if internal {
		prefix = "berthi"
	}
	if network == defaultNetwork {
		return prefix + "0"
	}
	sum := sha256.Sum256([]byte(network))
	if internal {
		return prefix + hex.EncodeToString(sum[:4])
	}
	return prefix + "-" + hex.EncodeToString(sum[:4]) // 15 characters are the most
}

// networkOf returns the network for containers of that mode.
func (r *Runtime) networkOf(egress session.EgressMode) *sessionNetwork {
	if egress == "" || egress == session.EgressOpen {
		return r.open
	}
	return r.internal
}

// networkFor returns the network that a container was made for; nil if it is none of the two.
func (r *Runtime) networkFor(c container.InspectResponse) *sessionNetwork {
	for _, n := range []*sessionNetwork{r.open, r.internal} {
		if string(c.HostConfig.NetworkMode) == n.name {
			return n
		}
	}
	return nil
}

// ensureNetwork makes a network of sessions when it is missing. It is looked up each time, because unused networks may be
// pruned; the look-up takes half a millisecond.
func (r *Runtime) ensureNetwork(ctx context.Context, n *sessionNetwork) (network.Summary, error) {
	found, err := r.networks(ctx, n)
	if err != nil {
		return network.Summary{}, err
	}
	if len(found) == 1 && (n.compared.Load() || !n.differs(found[0])) {
		return found[0], n.check(found[0])
	}
	if err := r.networkMu.Acquire(ctx, 1); err != nil {
		return network.Summary{}, fmt.Errorf("wait for the network %s: %w", n.name, err)
	}
	defer r.networkMu.Release(1)
	if found, err = r.networks(ctx, n); err != nil {
		return network.Summary{}, err
	}
	if len(found) == 1 && n.differs(found[0]) && !n.compared.Swap(true) && r.removeUnused(ctx, n, found[0]) {
		found = nil
	}
	if len(found) == 0 {
		if err := r.makeNetwork(ctx, n); err != nil {
			return network.Summary{}, err
		}
		if found, err = r.networks(ctx, n); err != nil {
			return network.Summary{}, err
		}
	}
	if len(found) == 0 {
		return network.Summary{}, fmt.Errorf("make network %s: the engine reported success, and does not have it", n.name)
	}
	if err := n.check(found[0]); err != nil {
		return network.Summary{}, err
	}
	return found[0], r.removeDuplicates(ctx, n, found[1:])
}

// networks returns the networks of exactly the name, oldest first. The engine's filter matches parts of names, and
// older engines make a second network of the same name without complaint.
func (r *Runtime) networks(ctx context.Context, n *sessionNetwork) ([]network.Summary, error) {
	list, err := r.api.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("name", n.name)})
	if err != nil {
		return nil, fmt.Errorf("look for network %s: %w", n.name, err)
	}
	found := slices.DeleteFunc(list.Items, func(other network.Summary) bool { return other.Name != n.name })
	slices.SortFunc(found, func(a, b network.Summary) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return found, nil
}

// makeNetwork makes a network, unless another process makes it at the same time.
func (r *Runtime) makeNetwork(ctx context.Context, n *sessionNetwork) error {
	// The engine finishes a creation that it has started. The next process must find the network, or it would make a second one.
	graceful, done := withGrace(ctx, createGrace)
	defer done()
	var refused error
	for range subnetTries {
		subnet, err := r.freeSubnet(graceful, n)
		if err != nil {
			return err
		}
		options := client.NetworkCreateOptions{
			Driver:     "bridge",
			EnableIPv6: new(false), // a second, unfiltered way in and out
			Internal:   n.internal,
			Options:    map[string]string{noNeighbours: "false", bridgeName: n.bridge},
			Labels:     map[string]string{labelNetwork: "true", labelInstance: r.instance},
		}
		if subnet.IsValid() {
			options.IPAM = &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet, Gateway: subnet.Masked().Addr().Next()}}}
		}
		_, err = r.api.NetworkCreate(graceful, n.name, options)
		if err == nil || errdefs.IsConflict(err) {
			return nil // newer engines refuse a second one: another process has made it
		}
		if refused = err; !errdefs.IsPermissionDenied(err) {
			break
		}
		// Older engines refuse the second interface of a name instead, already while the first one is being made; all refuse a
		// subnet that another network has just been given.
		if r.madeByOther(graceful, n) {
			return nil
		}
	}
	if found, err := r.networks(graceful, n); err == nil && len(found) > 0 {
		return nil
	}
	if n.subnet.IsValid() && errdefs.IsPermissionDenied(refused) {
		return session.Errorf(session.CodeConflict, "the engine refuses to make the network %q with the subnet %s: another network may have it; set %s to a free one",
			n.name, n.subnet, n.setting).Because(refused)
	}
	return fmt.Errorf("make network %s: %w", n.name, refused)
}

const (
	networkGrace = 5 * time.Second // until a network that another process is making is visible: 72 ms were measured
	networkPoll  = 50 * time.Millisecond
	subnetTries  = 3 // another process may have taken a subnet after it was found to be free
)

// madeByOther waits for a network that another process is making.
func (r *Runtime) madeByOther(ctx context.Context, n *sessionNetwork) bool {
	soon, cancel := context.WithTimeout(ctx, networkGrace)
	defer cancel()
	return every(soon, networkPoll, func() (bool, error) {
		found, err := r.networks(soon, n)
		return err == nil && len(found) > 0, nil
	}) == nil
}

// check returns an error for an existing network that would not keep sessions apart, or from the outside.
func (n *sessionNetwork) check(found network.Summary) error {
	if found.Driver != "bridge" || found.Options[noNeighbours] != "false" {
		return session.Errorf(session.CodeConflict,
			"the network %q lets its containers reach each other, so it is not one for sessions: remove it, or name another one with DOCKER_NETWORK", n.name)
	}
	if n.internal && (!found.Internal || found.EnableIPv6) {
		return session.Errorf(session.CodeConflict,
			"the network %q is not an internal one without IPv6, so its containers would reach the outside: remove it, or name another one with DOCKER_NETWORK", n.name)
	}
	return nil
}

// removeDuplicates removes networks of the same name: for an engine, the name is ambiguous then. All processes keep the
// oldest, so that a process that made a younger one at the same time is not affected.
func (r *Runtime) removeDuplicates(ctx context.Context, n *sessionNetwork, duplicates []network.Summary) error {
	for _, d := range duplicates {
		_, err := r.api.NetworkRemove(ctx, d.ID, client.NetworkRemoveOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			return session.Errorf(session.CodeConflict,
				"the engine has several networks named %q; remove all but the oldest", n.name).Because(err)
		}
	}
	return nil
}

// reattach connects a stopped container to the present network when the one it was made on was replaced. A container that
// has run refers to its network by ID, and could not start again after that network was pruned. A container that was
// disconnected from its network is connected again.
func (r *Runtime) reattach(ctx context.Context, c container.InspectResponse) error {
	n := r.networkFor(c)
	if n == nil || c.NetworkSettings == nil { // it was made for another network
		return nil
	}
	now, err := r.ensureNetwork(ctx, n)
	if err != nil {
		return err
	}
	then := c.NetworkSettings.Networks[n.name]
	switch {
	case then != nil && (then.NetworkID == "" || then.NetworkID == now.ID):
		return nil
	case then == nil && len(c.NetworkSettings.Networks) > 0: // it was connected to another one
		return nil
	case then != nil:
		_, err = r.api.NetworkDisconnect(ctx, n.name, client.NetworkDisconnectOptions{Container: c.ID, Force: true})
		if err != nil {
			return fmt.Errorf("disconnect container %s from its lost network: %w", c.ID, err)
		}
	}
	_, err = r.api.NetworkConnect(ctx, now.ID, client.NetworkConnectOptions{Container: c.ID})
	if err != nil {
		return fmt.Errorf("connect container %s to network %s: %w", c.ID, n.name, err)
	}
	return nil
}
