package main

import (
	"context"

	"berth/internal/dockerd"
)

type dockerFirewallCmd struct {
	Socket      string `env:"BERTH_GUARD_SOCKET" default:"/var/run/docker.sock" placeholder:"FILE" help:"The engine's unix socket (BERTH_GUARD_SOCKET). Default: ${default}."`
	Network     string `env:"DOCKER_NETWORK" default:"berth" placeholder:"NAME" help:"The sessions' network (DOCKER_NETWORK), which is isolated. Default: ${default}."`
	GatewayPort int    `env:"GATEWAY_PORT" default:"8081" placeholder:"PORT" help:"The gateway's port, which sessions reach (GATEWAY_PORT). 0: there is no gateway. Default: ${default}."`
	confirmation
	Undo bool `help:"Remove the rules."`
}

// Help is shown by berth docker firewall --help.
func (dockerFirewallCmd) Help() string {
	return `Blocks access from sessions to the engine's machine, as "berth docker setup-tls" does, for machines where the engine is
behind a guard. Runs as root. Sessions cannot reach the ports of this machine, metadata services on link-local addresses, and
ports that other containers publish here; other machines cannot reach the addresses of session containers. Of this machine they
reach Berth's gateway on the address of their own bridge: its port, and in internal networks also DNS, HTTP and HTTPS, beside which
these reach nothing. Published ports, connections from open sessions to other hosts, and the connections that Berth itself needs
keep working.

The rules are in chains of their own, BERTH-INPUT and BERTH-FORWARD, of iptables and ip6tables. A second run changes
nothing. They persist across a restart of the engine, but not of the machine: run it at each boot, as berth-firewall.service of
deploy/systemd does.

Examples:

    berth docker firewall --dry-run
    berth docker firewall --yes
    berth docker firewall --undo`
}

// Run installs the rules, or removes them.
func (c *dockerFirewallCmd) Run(ctx context.Context, std *stdio) error {
	setup := dockerd.WithoutMaterial(dockerd.Machine(), dockerd.Options{Network: c.Network, GatewayPort: c.GatewayPort})
	if c.Undo {
		return c.carryOut(ctx, std, operation{
			plan: setup.PlanOpening, nothing: "this machine has no rules of Berth: nothing to undo",
			question: "Remove the rules that block access from sessions to this machine?",
			apply:    func(ctx context.Context, _ *dockerd.Plan) error { return setup.Open(ctx) },
			done:     "the rules are removed",
		})
	}
	return c.carryOut(ctx, std, operation{
		plan:     func(ctx context.Context) (*dockerd.Plan, error) { return setup.PlanIsolation(ctx, c.Socket) },
		nothing:  "access from sessions to this machine is blocked: nothing to do",
		question: "Block access from sessions to this machine like this?", apply: setup.ApplyIsolation,
		done: "access from sessions to this machine is blocked",
	})
}
