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
	SetupTLS dockerSetupTLSCmd `cmd:"" name:"setup-tls" help:"Let this machine's Docker engine demand client certificates, or take that back."`
	Firewall dockerFirewallCmd `cmd:"" help:"Close this machine to sessions, or take that back."`
	Test     dockerTestCmd     `cmd:"" help:"Test the way to the engine, and that strangers are refused on it."`
}

type dockerSetupTLSCmd struct {
	CertDir        string   `env:"DOCKER_CERT_PATH" default:"${cert_dir}" placeholder:"DIR" help:"Directory that berth certs init has filled (DOCKER_CERT_PATH). Default: ${default}."`
	Listen         []string `default:"127.0.0.1" placeholder:"ADDRESS" help:"IP address that the engine listens on, with or without a port. Repeatable. Default: ${default}."`
	Port           uint16   `env:"DOCKER_TLS_PORT" default:"2376" placeholder:"PORT" help:"Port where --listen names none (DOCKER_TLS_PORT). Default: ${default}."`
	RestartCommand string   `placeholder:"COMMAND" help:"Command that restarts the engine where neither systemd nor /etc/init.d/docker does. A shell runs it."`
	Network        string   `env:"DOCKER_NETWORK" default:"berth" placeholder:"NAME" help:"The sessions' network (DOCKER_NETWORK), which is closed whoever made it. Default: ${default}."`
	NoFirewall     bool     `help:"Leave out the firewall rules that keep containers from the engine's port and from this machine."`
	confirmation
	Undo bool   `help:"Restore the state before the first set-up."`
	Root string `hidden:"" placeholder:"DIR" help:"Put DIR before every path."`
}

// Help is shown by berth docker setup-tls --help.
func (dockerSetupTLSCmd) Help() string {
	return `Runs as root on the engine's machine, with systemd or without. It installs the server certificate in /etc/docker/certs,
merges TLS and hardening into /etc/docker/daemon.json, takes the addresses out of systemd's command line, keeps containers
from the engine's port and sessions from the whole machine (see berth docker firewall), restarts the engine, and looks at it from outside: it must answer a client of ours, and refuse one
without certificate and one of another authority. When any step fails, everything is put back as it was and the engine is
restarted with that. What was replaced is kept beside it with the date in its name until --undo.

The plan and the changes are shown before the question. A second run changes nothing. A run that was interrupted is
completed by the next one, or taken back with --undo.

Examples:

    berth docker setup-tls --dry-run
    berth docker setup-tls
    berth docker setup-tls --listen 10.0.0.5 --listen 127.0.0.1 --yes
    berth docker setup-tls --undo`
}

// Run sets the engine up, or takes that back.
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
		Report:         func(s dockerd.Step) { std.progress("%s: %s", s.Name, s.Text) },
	}
	if c.Undo {
		setup := dockerd.WithoutMaterial(host, options)
		return c.carryOut(ctx, std, operation{
			plan: setup.PlanUndo, nothing: "no set-up is recorded on this machine: nothing to undo",
			question: "Take the set-up back like this?",
			apply:    func(ctx context.Context, _ *dockerd.Plan) error { return setup.Undo(ctx) },
			done:     "everything is as it was before the set-up",
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
		plan: setup.Plan, nothing: "the engine demands client certificates on " + addresses(options.Listen) + ": nothing to do",
		show: func(plan *dockerd.Plan) {
			if plan.Engine != "" {
				std.progress("the engine %s answers on %s", plan.Version, plan.Engine)
			} else {
				std.progress("the engine does not answer yet")
			}
			if plan.Resumes {
				std.progress("an earlier set-up was interrupted; this one completes it")
			}
		},
		question: "Set the engine up like this?", apply: setup.Apply,
		done: "the engine demands client certificates on " + addresses(options.Listen),
	})
}

// operation is a change of this machine that is planned, shown and agreed to before it is made.
type operation struct {
	plan     func(context.Context) (*dockerd.Plan, error)
	nothing  string              // said of an empty plan
	show     func(*dockerd.Plan) // says ahead of a plan that is not empty what else was found; nil: nothing
	question string
	apply    func(context.Context, *dockerd.Plan) error
	done     string // said afterwards
}

// confirmation says how the operator's consent to a plan is got; embed it.
type confirmation struct {
	DryRun bool `help:"Show what would be done, and change nothing."`
	Yes    bool `short:"y" help:"Do it without a question."`
}

// carryOut plans, asks and applies. In a dry run it only shows, also a plan that must not be applied.
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

// ask shows the plan and asks. In a dry run it only shows.
func (c confirmation) ask(std *stdio, plan *dockerd.Plan, question string) error {
	if _, err := fmt.Fprint(std.Out, printable(plan.String())); err != nil {
		return err
	}
	if c.DryRun {
		std.progress("dry run: nothing was changed")
		return nil
	}
	if !c.Yes && !std.isTerminal() {
		return withHint(usageError(errors.New("there is no terminal to ask on: nothing was changed")), "read the plan above, and give --yes")
	}
	if os.Geteuid() != 0 {
		return withHint(errors.New("only root can change this: nothing was changed"), "run it again with sudo, or with --dry-run")
	}
	if !c.Yes && !std.confirm(question) {
		return errors.New("nothing was changed")
	}
	return nil
}

// readCertificates reads and checks what the engine shall use, and what proves that it does.
func (c *dockerSetupTLSCmd) readCertificates(options *dockerd.Options) error {
	server := pki.ServerPaths(c.CertDir)
	client := pki.ClientPaths(c.CertDir, pki.Paths{})
	// Loading finds every fault that a set of certificates can have, and says what to do about it.
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
