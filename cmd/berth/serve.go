package main

import (
	"context"
	"errors"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/telemetry"
)

type serveCmd struct {
	Config   string `help:"Configuration file (YAML). Default: $$BERTH_CONFIG." type:"path" placeholder:"FILE"`
	Listen   string `help:"Address to listen on. Default: $$BERTH_LISTEN, 127.0.0.1:8080." placeholder:"HOST:PORT"`
	StateDir string `help:"Directory of Berth's own state. Default: $$BERTH_STATE_DIR." type:"path" placeholder:"DIR"`
	Runtime  string `help:"What runs the sessions: docker, or process (no isolation). Default: $$BERTH_RUNTIME, docker." enum:",docker,process" default:"" placeholder:"KIND"`
	LogLevel string `help:"DEBUG, INFO, WARNING, ERROR or CRITICAL. Default: $$LOG_LEVEL, INFO." placeholder:"LEVEL"`
	Insecure bool   `name:"insecure-docker-socket" help:"Allow DOCKER_HOST to be a unix socket. Whoever breaks into Berth is root on the host then."`
}

// Help is shown by berth serve --help.
func (serveCmd) Help() string {
	return `Serves the API and the proxy until it is told to stop (SIGINT, SIGTERM). Requests in flight are finished; sessions
go on running and are found again at the next start.

Every setting can be given in the environment or in a file: berth config docs lists them, berth config check looks them
over without starting anything.

Examples:
  DOCKER_HOST=tcp://127.0.0.1:2376 DOCKER_CERT_PATH=./docker/certs berth serve
  berth serve --config /etc/berth/berth.yaml
  berth serve --runtime process      a first look where there is no Docker`
}

func (c *serveCmd) overrides() map[string]string {
	overrides := map[string]string{}
	for name, value := range map[string]string{
		"BERTH_LISTEN": c.Listen, "BERTH_STATE_DIR": c.StateDir, "BERTH_RUNTIME": c.Runtime, "LOG_LEVEL": c.LogLevel,
	} {
		if value != "" {
			overrides[name] = value
		}
	}
	return overrides
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, std *stdio) (err error) {
	cfg, err := config.Load(config.Options{
		File: c.Config, Environ: std.Environ, Overrides: c.overrides(), InsecureDockerSocket: c.Insecure,
	})
	if err != nil {
		return usageError(err)
	}
	options := telemetry.Options{Level: cfg.Log.Level.Level(), Format: cfg.Log.Format}
	if cfg.Log.Console {
		options.Console = std.Err
	}
	if cfg.Log.FileEnabled {
		options.File = telemetry.File{Path: cfg.Log.File, MaxSizeMB: cfg.Log.MaxSizeMB, Backups: cfg.Log.BackupCount}
	}
	log, closer, err := telemetry.NewLogger(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()

	a, err := app.New(ctx, cfg, version(), log)
	if err != nil {
		return err
	}
	return errors.Join(a.Run(ctx), a.Stop(ctx))
}
