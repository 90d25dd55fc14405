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
	Health     healthCmd     `cmd:"" help:"Say whether the Berth of this machine is ready."`
	Session    sessionCmd    `cmd:"" help:"Create, look at and remove sessions of a Berth that serves."`
	Guard      guardCmd      `cmd:"" help:"Stand before the Docker engine's socket and demand client certificates."`
	Certs      certsCmd      `cmd:"" help:"Make and look at the certificates of the engine and its clients."`
	Docker     dockerCmd     `cmd:"" help:"Secure the Docker engine of this machine."`
	Doctor     doctorCmd     `cmd:"" help:"Go through the security audit checklist."`
	HostIP     hostipCmd     `cmd:"" name:"hostip" help:"Find the address at which the Docker host is reached from here."`
	Store      storeCmd      `cmd:"" help:"Look at, save and move the sessions' records."`
	Config     configCmd     `cmd:"" help:"Check, show and explain the settings."`
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

// exited carries the exit code out of kong, which wants to end the process after it has printed help.
type exited int

// execute parses args and runs the command. It returns nil when help was asked for and given.
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
		kong.Description("Berth gives every user a private OpenCode server in a private, hardened container, and is the only door to it."),
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

// defaultCertDir is the directory of the certificates that the settings name: commands for them and the services that use them
// must not differ. Faults of the settings are reported by those who need more of them.
func defaultCertDir(std *stdio) string {
	cfg, _ := config.Load(config.Options{SystemFile: systemConfig(), Environ: std.Environ})
	return cfg.Docker.CertPath
}

// flagHelp names a flag's environment variable unless its help does so already.
func flagHelp(v *kong.Value) string {
	for _, name := range v.Tag.Envs {
		if strings.Contains(v.Help, name) {
			return v.Help
		}
	}
	return kong.DefaultHelpValueFormatter(v)
}
