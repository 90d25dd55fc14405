package main

import (
	"context"
	"errors"

	"berth/internal/app"
	"berth/internal/telemetry"
)

type serveCmd struct {
	configFlags
}

// Help is shown by berth serve --help.
func (serveCmd) Help() string {
	return `Serves the API and the proxy until it is told to stop (SIGINT, SIGTERM). Requests in flight are finished; sessions go on running and are found again at the next start. A second signal ends the process at once.

Every setting can be given in a file or in the environment: "berth config docs" lists them, "berth config check" looks them over without starting anything.

Examples:

    DOCKER_HOST=tcp://127.0.0.1:2376 DOCKER_CERT_PATH=./docker/certs berth serve
    berth serve --config /etc/berth/berth.yaml
    berth serve --runtime process      a first look where there is no Docker`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, std *stdio) (err error) {
	cfg, err := c.load(std)
	if err != nil {
		return err
	}
	options := telemetry.Options{
		Level: cfg.Log.Level.Level(), Format: cfg.Log.Format, NoColor: std.Getenv("NO_COLOR") != "",
	}
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
