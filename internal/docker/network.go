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

// ensureNetwork makes the sessions' network when it is missing. Containers on it reach the outside, and not each other. It
// is looked up each time, because unused networks may be pruned; the look-up takes half a millisecond.
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
		return network.Summary{}, fmt.Errorf("make network %s: the engine reported success, and does not have it", r.network)
	}
	if err := r.checkNetwork(found[0]); err != nil {
		return network.Summary{}, err
	}
	return found[0], r.removeDuplicates(ctx, found[1:])
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
	// The engine finishes a creation that it has started. The next process must find the network, or it would make a second one.
	graceful, done := withGrace(ctx, createGrace)
	defer done()
	_, err := r.api.NetworkCreate(graceful, r.network, client.NetworkCreateOptions{
		Driver:     "bridge",
		EnableIPv6: new(false), // a second, unfiltered way in and out
		Options:    map[string]string{noNeighbours: "false", bridgeName: bridgeOf(r.network)},
		Labels:     map[string]string{labelNetwork: "true", labelInstance: r.instance},
	})
	if err == nil || errdefs.IsConflict(err) {
		return nil // newer engines refuse a second one: another process has made it
	}
	// Older engines refuse the second interface of a name instead, already while the first one is being made.
	soon, cancel := context.WithTimeout(graceful, networkGrace)
	defer cancel()
	absent := every(soon, networkPoll, func() (bool, error) {
		found, findErr := r.networks(graceful)
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
	networkGrace = 5 * time.Second // until a network that another process is making is visible: 72 ms were measured
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

// removeDuplicates removes networks of the same name: for an engine, the name is ambiguous then. All processes keep the
// oldest, so that a process that made a younger one at the same time is not affected.
func (r *Runtime) removeDuplicates(ctx context.Context, duplicates []network.Summary) error {
	for _, n := range duplicates {
		_, err := r.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		if err != nil && !errdefs.IsNotFound(err) {
			return session.Errorf(session.CodeConflict,
				"the engine has several networks named %q; remove all but the oldest", r.network).Because(err)
		}
	}
	return nil
}

// reattach connects a stopped container to the present network when the one it was made on was replaced. A container that
// has run refers to its network by ID, and could not start again after that network was pruned. A container that was
// disconnected from its network is connected again.
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
	case then == nil && len(c.NetworkSettings.Networks) > 0: // it was made for another network
		return nil
	case then != nil:
		_, err = r.api.NetworkDisconnect(ctx, r.network, client.NetworkDisconnectOptions{Container: c.ID, Force: true})
		if err != nil {
			return fmt.Errorf("disconnect container %s from its lost network: %w", c.ID, err)
		}
	}
	_, err = r.api.NetworkConnect(ctx, now.ID, client.NetworkConnectOptions{Container: c.ID})
	if err != nil {
		return fmt.Errorf("connect container %s to network %s: %w", c.ID, r.network, err)
	}
	return nil
}
