package main

import (
	"context"

	"berth/internal/dockerd"
)

type dockerFirewallCmd struct {
	Socket  string `env:"BERTH_GUARD_SOCKET" default:"/var/run/docker.sock" placeholder:"FILE" help:"The engine's unix socket (BERTH_GUARD_SOCKET). Default: ${default}."`
	Network string `env:"DOCKER_NETWORK" default:"berth" placeholder:"NAME" help:"The sessions' network (DOCKER_NETWORK), which is closed whoever made it. Default: ${default}."`
	confirmation
	Undo bool `help:"Remove the rules."`
}

// Help is shown by berth docker firewall --help.
func (dockerFirewallCmd) Help() string {
	return `Closes the engine's machine to sessions, as "berth docker setup-tls" does, for machines whose engine is behind a guard. Runs
as root. From a session, no port of this machine can be reached any more, nor a metadata service on a link-local address,
nor a port that another container publishes here; from other machines, no address of a session's container. Published
ports, what sessions reach outside this machine, and what Berth itself needs go on working.

The rules are in chains of their own, BERTH-INPUT and BERTH-FORWARD, of iptables and ip6tables. A second run changes
nothing. They outlive a restart of the engine and not one of the machine: run it at each start, as berth-firewall.service
of deploy/systemd does.

Examples:

    berth docker firewall --dry-run
    berth docker firewall --yes
    berth docker firewall --undo`
}

// Run closes the machine to sessions, or opens it.
func (c *dockerFirewallCmd) Run(ctx context.Context, std *stdio) error {
	setup := dockerd.WithoutMaterial(dockerd.Machine(), dockerd.Options{Network: c.Network})
	if c.Undo {
		return c.carryOut(ctx, std, operation{
			plan: setup.PlanOpening, nothing: "this machine has no rules of Berth: nothing to undo",
			question: "Open this machine to sessions?",
			apply:    func(ctx context.Context, _ *dockerd.Plan) error { return setup.Open(ctx) },
			done:     "the rules are removed",
		})
	}
	return c.carryOut(ctx, std, operation{
		plan:     func(ctx context.Context) (*dockerd.Plan, error) { return setup.PlanIsolation(ctx, c.Socket) },
		nothing:  "this machine is closed to sessions: nothing to do",
		question: "Close this machine to sessions like this?", apply: setup.ApplyIsolation,
		done: "this machine is closed to sessions",
	})
}
