package main

import (
	"context"
	"strings"

	"github.com/alecthomas/kong"

	"berth/internal/config"
)

// cli is the root of the command line; every command has a file of its own.
type cli struct {
	Serve      serveCmd      `cmd:"" help:"Serve the API and the proxy."`
	Health     healthCmd     `cmd:"" help:"Check whether the Berth on this machine is ready."`
	Session    sessionCmd    `cmd:"" help:"Create, inspect and delete sessions of a running Berth."`
	Token      tokenCmd      `cmd:"" help:"Create, list and revoke tokens for programs."`
	Usage      usageCmd      `cmd:"" help:"Show what sessions used of models, and their budgets."`
	Guard      guardCmd      `cmd:"" help:"Proxy the Docker engine's socket and require client certificates."`
	Certs      certsCmd      `cmd:"" help:"Create and inspect the certificates of the engine and its clients."`
	Docker     dockerCmd     `cmd:"" help:"Secure the Docker engine of this machine."`
	Doctor     doctorCmd     `cmd:"" help:"Run the checks of the security checklist."`
	HostIP     hostipCmd     `cmd:"" name:"hostip" help:"Detect the address of the Docker host."`
	Store      storeCmd      `cmd:"" help:"Inspect, back up and migrate session records."`
	Config     configCmd     `cmd:"" help:"Check, show and describe the settings."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	Complete completeCmd `cmd:"" hidden:"" name:"__complete"`

	ShowVersion versionFlag `name:"version" help:"Print the version and exit."`
}

// Help is the end of "berth --help".
func (cli) Help() string {
	return `Settings come from a file, the environment and flags; "berth config docs" describes all of them.

Exit codes:

    0  done
    1  failed
    2  wrong flags, arguments or settings
    3  no such session or image
    4  in conflict with its state, or over a limit
    5  not authenticated, or not allowed
    6  Berth, the engine or the store cannot be reached

Examples:

    berth serve --config /etc/berth/berth.yaml
    berth session create --owner alice
    berth config check`
}

// exited is the panic value that carries kong's exit code: kong exits the process after it has printed help.
type exited int

// execute parses args and runs the command. It returns nil when help was requested and printed.
func execute(ctx context.Context, args []string, std *stdio) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exited:
			err = nil
		default:
			panic(r)
		}
	}()
	parser, err := kong.New(&cli{},
		kong.Name("berth"),
		kong.Description("Berth gives every user a private OpenCode server in a private, hardened container, and controls all access to it."),
		kong.Writers(std.Out, std.Err),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(flagHelp),
		kong.Vars{"cert_dir": defaultCertDir(std)},
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return usageError(err)
	}
	return parsed.Run()
}

// defaultCertDir is the certificate directory of the settings, so that the certificate commands and the services use the same
// one. Faults of the settings are reported by the commands that need the other settings.
func defaultCertDir(std *stdio) string {
	cfg, _ := config.Load(config.Options{SystemFile: systemConfig(), Environ: std.Environ})
	return cfg.Docker.CertPath
}

// flagHelp adds a flag's environment variable to its help unless the help names it already.
func flagHelp(v *kong.Value) string {
	for _, name := range v.Tag.Envs {
		if strings.Contains(v.Help, name) {
			return v.Help
		}
	}
	return kong.DefaultHelpValueFormatter(v)
}
