package session

import (
	"fmt"
	"net/netip"
	"slices"
)

// EgressMode says what of the outside a session's container reaches, beside the models and git hosts that the gateway serves it.
type EgressMode string

// The modes, from the least to the most.
const (
	EgressNone   EgressMode = "none"   // nothing
	EgressListed EgressMode = "listed" // the hosts and ports of a list, through the gateway
	EgressOpen   EgressMode = "open"   // everything that the engine's host reaches, except its own networks
)

// EgressPackages is the built-in list that the sessions of a profile reach which names none: package registries.
const EgressPackages = "packages"

// egressModes are all modes in their order.
var egressModes = []EgressMode{EgressNone, EgressListed, EgressOpen}

// Validate returns an error for an unknown mode. The empty one is valid: it stands for a default.
func (m EgressMode) Validate() error {
	if m != "" && !slices.Contains(egressModes, m) {
		return fmt.Errorf("egress %q is not none, listed or open", string(m))
	}
	return nil
}

// Within reports whether a session of mode m reaches no more than one of the other mode. Both are valid and not empty.
func (m EgressMode) Within(other EgressMode) bool {
	return slices.Index(egressModes, m) <= slices.Index(egressModes, other)
}

// Caller is the session whose container makes a request to the gateway.
type Caller struct {
	Session ID
	Owner   string     // empty: nobody
	Profile string     // name of the profile
	Address netip.Addr // of the container, on its network
	Egress  EgressMode // what it may reach
	Allow   []string   // with EgressListed: names of lists, and rules; see package gateway/egress. Shared, read-only
}
