package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
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

// ensureNetwork makes the sessions' network when it is missing. Containers on it reach the outside, and not each
// other. It is looked for each time, because anybody may prune unused networks, and that costs half a millisecond.
func (r *Runtime) ensureNetwork(ctx context.Context) (network.Summary, error) {
	found, err := r.networks(ctx)
	if err != nil {
		return network.Summary{}, err
	}
	if len(found) == 1 {
		return found[0], r.checkNetwork(found[0])
	}
	if err := r.networkMu.Acquire(ctx, 1); err != nil {
		return network.Summary{}, fmt.Errorf("wait for the network %s: %w", r.network, err)
	}
	defer r.networkMu.Release(1)
	if found, err = r.networks(ctx); err != nil {
		return network.Summary{}, err
	}
	if len(found) == 0 {
		if err := r.makeNetwork(ctx); err != nil {
			return network.Summary{}, err
		}
		if found, err = r.networks(ctx); err != nil {
			return network.Summary{}, err
		}
	}
	if len(found) == 0 {
		return network.Summary{}, fmt.Errorf("make network %s: the engine says that it did, and does not have it", r.network)
	}
	if err := r.checkNetwork(found[0]); err != nil {
		return network.Summary{}, err
	}
	return found[0], r.dropDoubles(ctx, found[1:])
}

// networks returns the networks of exactly the name, oldest first. The engine's filter matches parts of names, and
// older engines make a second network of the same name without complaint.
func (r *Runtime) networks(ctx context.Context) ([]network.Summary, error) {
	list, err := r.api.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("name", r.network)})
	if err != nil {
		return nil, fmt.Errorf("look for network %s: %w", r.network, err)
	}
	found := slices.DeleteFunc(list.Items, func(n network.Summary) bool { return n.Name != r.network })
	slices.SortFunc(found, func(a, b network.Summary) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return found, nil
}

func (r *Runtime) makeNetwork(ctx context.Context) error {
	// The engine finishes what it began. Whoever looks next must find it, or would make a second one.
	patient, done := withGrace(ctx, createGrace)
	defer done()
	_, err := r.api.NetworkCreate(patient, r.network, client.NetworkCreateOptions{
		Driver:     "bridge",
		EnableIPv6: new(false), // a second, unwatched way out and in
		Options:    map[string]string{noNeighbours: "false", bridgeName: bridgeOf(r.network)},
		Labels:     map[string]string{labelNetwork: "true", labelInstance: r.instance},
	})
	if err == nil || errdefs.IsConflict(err) {
		return nil // newer engines refuse a second one: somebody else was quicker
	}
	// Older engines refuse the second interface of a name instead, already while the first one is being made.
	soon, cancel := context.WithTimeout(patient, networkGrace)
	defer cancel()
	absent := every(soon, networkPoll, func() (bool, error) {
		found, findErr := r.networks(patient)
		if findErr == nil && len(found) > 0 {
			return true, nil
		}
		if !errdefs.IsPermissionDenied(err) {
			return false, err
		}
		return false, nil
	})
	if absent != nil {
		return fmt.Errorf("make network %s: %w", r.network, err)
	}
	return nil
}

const (
	networkGrace = 5 * time.Second // how long a network that another process is making may take until it can be seen: 72 ms were measured
	networkPoll  = 50 * time.Millisecond
)

// bridgeOf names the interface of a sessions' network, so that a firewall's rules can match it before there is one: all
// begin with "berth".
func bridgeOf(network string) string {
	if network == defaultNetwork {
		return "berth0"
	}
	sum := sha256.Sum256([]byte(network))
	return "berth-" + hex.EncodeToString(sum[:4]) // 15 characters are the most
}

func (r *Runtime) checkNetwork(n network.Summary) error {
	if n.Driver == "bridge" && n.Options[noNeighbours] == "false" {
		return nil
	}
	return session.Errorf(session.CodeConflict,
		"the network %q lets its containers reach each other, so it is not one for sessions: remove it, or name another one", r.network)
}

// dropDoubles removes networks of the same name: an engine cannot tell which one a container means. All processes
// keep the oldest, so whoever made a younger one at the same time loses nothing.
func (r *Runtime) dropDoubles(ctx context.Context, doubles []network.Summary) error {
	for _, n := range doubles {
		_, err := r.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			return session.Errorf(session.CodeConflict,
				"the engine has several networks named %q; remove all but the oldest", r.network).Because(err)
		}
	}
	return nil
}

// reattach connects a stopped container to the network that has taken the place of the one it was made on. A
// container remembers its network by ID once it has run, and would never start again after somebody pruned it. One that
// somebody has taken off its network is put back.
func (r *Runtime) reattach(ctx context.Context, c container.InspectResponse) error {
	now, err := r.ensureNetwork(ctx)
	if err != nil {
		return err
	}
	if c.NetworkSettings == nil {
		return nil
	}
	then := c.NetworkSettings.Networks[r.network]
	switch {
	case then != nil && (then.NetworkID == "" || then.NetworkID == now.ID):
		return nil
	case then == nil && len(c.NetworkSettings.Networks) > 0: // it was made for another one
		return nil
	case then != nil:
		_, err = r.api.NetworkDisconnect(ctx, r.network, client.NetworkDisconnectOptions{Container: c.ID, Force: true})
		if err != nil {
			return fmt.Errorf("take container %s off its lost network: %w", c.ID, err)
		}
	}
	_, err = r.api.NetworkConnect(ctx, now.ID, client.NetworkConnectOptions{Container: c.ID})
	if err != nil {
		return fmt.Errorf("put container %s on network %s: %w", c.ID, r.network, err)
	}
	return nil
}
