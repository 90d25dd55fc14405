package main

import (
	"errors"
	"fmt"
	"maps"

	"berth/internal/app"
	"berth/internal/config"
)

// configFlags are the flags of every command that reads settings; embed it. Each flag overrides its variable.
type configFlags struct {
	File      string            `name:"config" short:"c" placeholder:"FILE" help:"Configuration file, YAML (BERTH_CONFIG). Default: that of make run beside this program, else /etc/berth/berth.yaml, if it is there."`
	Set       map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"Set any variable but secrets, as if it were in the environment. Repeatable."`
	Listen    string            `placeholder:"HOST:PORT" help:"Address to listen on (BERTH_LISTEN)."`
	StateDir  string            `placeholder:"DIR" help:"Directory of Berth's own state (BERTH_STATE_DIR)."`
	Runtime   string            `placeholder:"NAME" help:"What runs the sessions: docker or process (BERTH_RUNTIME)."`
	LogLevel  string            `placeholder:"LEVEL" help:"DEBUG, INFO, WARNING, ERROR or CRITICAL (LOG_LEVEL)."`
	LogFormat string            `placeholder:"FORM" help:"json, human or auto (LOG_FORMAT)."`

	InsecureDockerSocket bool `help:"Allow DOCKER_HOST to be a unix socket, which gives this process the rights of root on the engine's host."`
}

// ProvideConfig reads the settings from the file, the environment and these flags. The command line calls it for commands
// with the settings as a parameter of Run, which then have no faults.
func (f configFlags) ProvideConfig(std *stdio) (config.Config, error) {
	overrides := maps.Clone(f.Set)
	if overrides == nil {
		overrides = map[string]string{}
	}
	for name, value := range map[string]string{
		"BERTH_LISTEN":    f.Listen,
		"BERTH_STATE_DIR": f.StateDir,
		"BERTH_RUNTIME":   f.Runtime,
		"LOG_LEVEL":       f.LogLevel,
		"LOG_FORMAT":      f.LogFormat,
	} {
		if value != "" {
			overrides[name] = value
		}
	}
	cfg, err := config.Load(config.Options{
		File:                 f.File,
		SystemFile:           systemConfig(),
		Environ:              std.Environ,
		Overrides:            overrides,
		InsecureDockerSocket: f.InsecureDockerSocket,
	})
	return cfg, withHint(err, `"berth config docs" describes every setting`)
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check the settings and report every fault."`
	Show  configShowCmd  `cmd:"" help:"Print the effective settings, with secrets redacted."`
	Docs  configDocsCmd  `cmd:"" help:"Print the description of all settings, as Markdown."`
}

type configCheckCmd struct {
	configFlags
	NoFiles bool `help:"Check the settings alone: the files that they name are on another machine."`
}

// Help shows examples.
func (configCheckCmd) Help() string {
	return `Nothing is started and nothing is written. The settings are checked, and the files that they name: certificates, state directory, log files. Every fault is reported at once, and the exit code is 2 if there is one. Settings that weaken security, and variables that look like settings and are none, give warnings.

Examples:

    berth config check
    berth config check --config /etc/berth/berth.yaml
    berth config check --set DOCKER_ENV=production
    berth config check --no-files --config berth.yaml`
}

// Run implements "berth config check".
func (c configCheckCmd) Run(std *stdio, cfg config.Config) error {
	warnings, faults := cfg.Warnings(), error(nil)
	if !c.NoFiles {
		var found []string
		found, faults = app.Preflight(cfg)
		warnings = append(warnings, found...)
	}
	for _, warning := range warnings {
		if _, err := fmt.Fprintln(std.Err, "berth: warning:", warning); err != nil {
			return err
		}
	}
	if faults != nil {
		return withHint(usageError(faults), `"berth config check --no-files" checks the settings alone`)
	}
	_, err := fmt.Fprintln(std.Out, "the settings are usable")
	return err
}

type configShowCmd struct {
	configFlags
	Output string `short:"o" enum:"yaml,json" default:"yaml" help:"Form of the output: ${enum}."`
}

// Help shows examples.
func (configShowCmd) Help() string {
	return `The output has the form of a configuration file. Settings with faults are shown as far as they could be read, and the faults are reported.

Examples:

    berth config show
    berth config show --output json --config berth.yaml`
}

// Run implements "berth config show".
func (c configShowCmd) Run(std *stdio) error {
	cfg, faults := c.ProvideConfig(std)
	write := writeYAML
	if c.Output == "json" {
		write = writeYAMLAsJSON
	}
	return errors.Join(write(std.Out, cfg), faults)
}

type configDocsCmd struct{}

// Help shows an example.
func (configDocsCmd) Help() string {
	return `Every variable, its key in the configuration file, its default and its meaning.

Example:

    berth config docs > configuration.md`
}

// Run implements "berth config docs".
func (configDocsCmd) Run(std *stdio) error { return config.WriteDocs(std.Out) }
