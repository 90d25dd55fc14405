package config

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"berth/internal/gateway/egress"
	"berth/internal/session"
)

// Policy returns the lists and private targets as the gateway holds them. The error joins all faults.
func (e Egress) Policy() (*egress.Policy, error) { return egress.NewPolicy(e.Lists, e.Private) }

// Limits returns the bounds of connections.
func (e Egress) Limits() egress.Limits {
	return egress.Limits{Connections: e.MaxConnections, PerSession: e.MaxPerSession, Idle: e.IdleTimeout.Duration()}
}

// rules is the part of the section that has no variables.
func (e Egress) rules() Egress { return Egress{Lists: e.Lists, Private: e.Private} }

func (v *checker) egress(c Config) {
	e := c.Egress
	between(v, "EGRESS_MAX_CONNECTIONS", e.MaxConnections, 1, 1_000_000)
	between(v, "EGRESS_MAX_CONNECTIONS_PER_SESSION", e.MaxPerSession, 1, 1_000_000)
	v.that(e.MaxPerSession <= e.MaxConnections, "EGRESS_MAX_CONNECTIONS_PER_SESSION", e.MaxPerSession,
		"contradicts EGRESS_MAX_CONNECTIONS=%d: it cannot be larger", e.MaxConnections)
	between(v, "EGRESS_IDLE_TIMEOUT", e.IdleTimeout, Seconds(time.Minute), Seconds(7*24*time.Hour))
	policy, err := e.Policy()
	if err != nil {
		v.lines("egress", err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		v.allowed("profiles."+name+".egress_allow", c.Profiles[name], policy)
	}
}

// allowed checks what a profile's sessions reach.
func (v *checker) allowed(at string, p session.Profile, policy *egress.Policy) {
	err := policy.Check(p.EgressAllow)
	if p.Egress != "" && p.Egress != session.EgressListed && len(p.EgressAllow) > 0 {
		err = errors.Join(err, errors.New("is for egress listed, and the profile has "+string(p.Egress)))
	}
	if err != nil {
		v.lines(at, err)
	}
}

// lines records a fault for each line of a joined error.
func (v *checker) lines(at string, err error) {
	for line := range strings.Lines(err.Error()) {
		v.that(false, at, "", "%s", strings.TrimSpace(line))
	}
}
