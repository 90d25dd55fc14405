package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/dockerd"
	"berth/internal/doctor/connection"
	"berth/internal/pki"
)

type dockerCmd struct {
	SetupTLS dockerSetupTLSCmd `cmd:"" name:"setup-tls" help:"Configure this machine's Docker engine to require client certificates, or undo that."`
	Firewall dockerFirewallCmd `cmd:"" help:"Block access from sessions to this machine, or undo that."`
	Test     dockerTestCmd     `cmd:"" help:"Test the connection to the engine, and that unauthenticated clients are refused."`
}

type dockerSetupTLSCmd struct {
	CertDir        string   `env:"DOCKER_CERT_PATH" default:"${cert_dir}" placeholder:"DIR" help:"Directory of the certificates, made by berth certs init (DOCKER_CERT_PATH). Default: ${default}."`
	Listen         []string `default:"127.0.0.1" placeholder:"ADDRESS" help:"IP address that the engine listens on, with or without a port. Repeatable. Default: ${default}."`
	Port           uint16   `env:"DOCKER_TLS_PORT" default:"2376" placeholder:"PORT" help:"Port for a --listen without one (DOCKER_TLS_PORT). Default: ${default}."`
	RestartCommand string   `placeholder:"COMMAND" help:"Shell command that restarts the engine where neither systemd nor /etc/init.d/docker does."`
	Network        string   `env:"DOCKER_NETWORK" default:"berth" placeholder:"NAME" help:"The sessions' network (DOCKER_NETWORK), which is isolated. Default: ${default}."`
	GatewayPort    int      `env:"GATEWAY_PORT" default:"8081" placeholder:"PORT" help:"The gateway's port, which sessions reach (GATEWAY_PORT). 0: there is no gateway. Default: ${default}."`
	NoFirewall     bool     `help:"Do not install the firewall rules that block containers from the engine's port and from this machine."`
	confirmation
	Undo bool   `help:"Restore the state before the first set-up."`
	Root string `hidden:"" placeholder:"DIR" help:"Put DIR before every path."`
}

// Help is shown by berth docker setup-tls --help.
func (dockerSetupTLSCmd) Help() string {
	return `Runs as root on the engine's machine, with systemd or without. It installs the server certificate in /etc/docker/certs,
merges TLS and hardening into /etc/docker/daemon.json, removes the addresses from systemd's command line, blocks containers
from the engine's port and sessions from the whole machine (see berth docker firewall), restarts the engine, and verifies the
result: the engine must answer a client of ours, and refuse one without a certificate and one of another authority. When a step
fails, everything is restored and the engine is restarted with the previous settings. Replaced files are kept, with the date in
their names, until --undo.

The plan and the changes are shown before the confirmation. A second run changes nothing. An interrupted run is completed by
the next one, or undone with --undo.

Examples:

    berth docker setup-tls --dry-run
    berth docker setup-tls
    berth docker setup-tls --listen 10.0.0.5 --listen 127.0.0.1 --yes
    berth docker setup-tls --undo`
}

// Run sets the engine up, or undoes that.
func (c *dockerSetupTLSCmd) Run(ctx context.Context, std *stdio) error {
	host := dockerd.Machine()
	if c.Root != "" {
		var err error
		if host.Root, err = filepath.Abs(c.Root); err != nil {
			return err
		}
	}
	options := dockerd.Options{
		RestartCommand: c.RestartCommand,
		NoFirewall:     c.NoFirewall,
		Network:        c.Network,
		GatewayPort:    c.GatewayPort,
		Report:         func(s dockerd.Step) { std.progress("%s: %s", s.Name, s.Text) },
	}
	if c.Undo {
		setup := dockerd.WithoutMaterial(host, options)
		return c.carryOut(ctx, std, operation{
			plan: setup.PlanUndo, nothing: "no set-up is recorded on this machine: nothing to undo",
			question: "Undo the set-up like this?",
			apply:    func(ctx context.Context, _ *dockerd.Plan) error { return setup.Undo(ctx) },
			done:     "the state before the set-up is restored",
		})
	}
	for _, text := range c.Listen {
		address, err := dockerd.ParseListen(text, c.Port)
		if err != nil {
			return usageError(err)
		}
		options.Listen = append(options.Listen, address)
	}
	if err := c.readCertificates(&options); err != nil {
		return err
	}
	setup, err := dockerd.New(host, options)
	if err != nil {
		return err
	}
	return c.carryOut(ctx, std, operation{
		plan: setup.Plan, nothing: "the engine requires client certificates on " + addresses(options.Listen) + ": nothing to do",
		show: func(plan *dockerd.Plan) {
			if plan.Engine != "" {
				std.progress("the engine %s answers on %s", plan.Version, plan.Engine)
			} else {
				std.progress("the engine does not answer yet")
			}
			if plan.Resumes {
				std.progress("an earlier set-up was interrupted; this run completes it")
			}
		},
		question: "Set the engine up like this?", apply: setup.Apply,
		done: "the engine requires client certificates on " + addresses(options.Listen),
	})
}

// operation is a change of this machine that is planned, shown and confirmed before it is made.
type operation struct {
	plan     func(context.Context) (*dockerd.Plan, error)
	nothing  string              // printed for an empty plan
	show     func(*dockerd.Plan) // prints further findings before a plan that is not empty; nil: none
	question string
	apply    func(context.Context, *dockerd.Plan) error
	done     string // printed at the end
}

// confirmation is the flags of commands that ask before they change this machine; embed it.
type confirmation struct {
	DryRun bool `help:"Show the plan and change nothing."`
	Yes    bool `short:"y" help:"Do not ask for confirmation."`
}

// carryOut plans, asks and applies. A dry run only shows the plan, also one that must not be applied.
func (c confirmation) carryOut(ctx context.Context, std *stdio, o operation) error {
	plan, planErr := o.plan(ctx)
	if planErr != nil && (plan == nil || !c.DryRun) {
		return planErr
	}
	if plan.Empty() && planErr == nil {
		std.progress("%s", o.nothing)
		return nil
	}
	if o.show != nil {
		o.show(plan)
	}
	if err := c.ask(std, plan, o.question); err != nil || c.DryRun {
		return errors.Join(err, planErr)
	}
	if err := o.apply(ctx, plan); err != nil {
		return err
	}
	std.progress("%s", o.done)
	return nil
}

// ask shows the plan and asks for confirmation, which a dry run does not.
func (c confirmation) ask(std *stdio, plan *dockerd.Plan, question string) error {
	if _, err := fmt.Fprint(std.Out, printable(plan.String())); err != nil {
		return err
	}
	if c.DryRun {
		std.progress("dry run: nothing was changed")
		return nil
	}
	if !c.Yes && !std.isTerminal() {
		return withHint(usageError(errors.New("there is no terminal for the confirmation: nothing was changed")), "read the plan above, and give --yes")
	}
	if os.Geteuid() != 0 {
		return withHint(errors.New("only root can change this: nothing was changed"), "run it again with sudo, or with --dry-run")
	}
	if !c.Yes && !std.confirm(question) {
		return errors.New("nothing was changed")
	}
	return nil
}

// readCertificates reads and checks the engine's certificates, and those with which the set-up is verified.
func (c *dockerSetupTLSCmd) readCertificates(options *dockerd.Options) error {
	server := pki.ServerPaths(c.CertDir)
	client := pki.ClientPaths(c.CertDir, pki.Paths{})
	// Loading reports every fault that a set of certificates can have, with what to do about it.
	if _, _, err := pki.LoadServerTLS(server, pki.ServerOptions{}); err != nil {
		return err
	}
	if _, _, err := pki.LoadClientTLS(client, pki.ClientOptions{}); err != nil {
		return err
	}
	for _, file := range []struct {
		path string
		into *[]byte
	}{{server.CA, &options.Server.CA}, {server.Cert, &options.Server.Cert}, {server.Key, &options.Server.Key}} {
		data, err := pki.ReadFile(file.path)
		if err != nil {
			return err
		}
		*file.into = data
	}
	own, err := pki.ReadCertificates(client.Cert)
	if err != nil {
		return err
	}
	options.Client = own[0]
	options.Verify = func(ctx context.Context, address, serverName string) (bool, error) {
		return connection.Secured(ctx, connection.Options{
			Host: "tcp://" + address, ServerName: serverName, ServerCert: server.Cert, CA: client.CA, Cert: client.Cert, Key: client.Key,
		})
	}
	return nil
}

func addresses(listen []netip.AddrPort) string {
	all := make([]string, len(listen))
	for i, l := range listen {
		all[i] = l.String()
	}
	return strings.Join(all, ", ")
}
