package main

import (
	"context"
	"log/slog"

	"berth/internal/config"
	"berth/internal/guard"
	"berth/internal/pki"
	"berth/internal/telemetry"
)

type guardCmd struct {
	Listen    string          `env:"BERTH_GUARD_LISTEN" default:"tcp://127.0.0.1:2376" placeholder:"ADDRESS" help:"Address to listen on (BERTH_GUARD_LISTEN). Default: ${default}."`
	Socket    string          `env:"BERTH_GUARD_SOCKET" default:"/var/run/docker.sock" placeholder:"FILE" help:"The engine's unix socket (BERTH_GUARD_SOCKET). Default: ${default}."`
	CertDir   string          `env:"DOCKER_CERT_PATH" default:"./docker/certs" placeholder:"DIR" help:"Directory of ca.pem, server-cert.pem and server-key.pem (DOCKER_CERT_PATH). Default: ${default}."`
	LogLevel  config.LogLevel `env:"LOG_LEVEL" default:"INFO" placeholder:"LEVEL" help:"DEBUG, INFO, WARNING, ERROR or CRITICAL (LOG_LEVEL). DEBUG shows every request."`
	LogFormat string          `env:"LOG_FORMAT" enum:"json,human,auto" default:"auto" placeholder:"FORM" help:"Form of the log lines, which go to standard error (LOG_FORMAT): ${enum}."`
}

// Help is shown by berth guard --help.
func (guardCmd) Help() string {
	return `Stands in front of the Docker engine: demands a client certificate of our authority over TLS 1.3, and passes every
request on to the engine's socket. It is the only part of Berth that opens that socket, so it runs as root or in the
socket's group, and the rest of Berth as somebody else. Certificates that change on disk are used without a restart.

Examples:

    berth guard
    berth guard --listen tcp://10.0.0.5:2376 --cert-dir /etc/berth/certs
    docker --tlsverify --tlscacert docker/certs/ca.pem --tlscert docker/certs/client-cert.pem \
        --tlskey docker/certs/client-key.pem -H tcp://127.0.0.1:2376 ps`
}

// Run guards the engine until ctx ends.
func (c *guardCmd) Run(ctx context.Context, std *stdio) error {
	// A log file is the server's; two processes must not rotate one file.
	logger, closer, err := telemetry.NewLogger(telemetry.Options{Level: c.LogLevel.Level(), Format: c.LogFormat, Console: std.Err})
	if err != nil {
		return usageError(err)
	}
	// Nothing but the console was opened.
	defer func() { _ = closer.Close() }()
	logger = telemetry.Named(logger, "guard")

	tlsConfig, warnings, err := pki.LoadServerTLS(pki.ServerPaths(c.CertDir), pki.ServerOptions{
		Reloaded: func(err error) { logReload(ctx, logger, err) },
	})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		logger.WarnContext(ctx, "certificate warning", "code", w.Code, "path", w.Path, "detail", w.Text)
	}
	g, err := guard.New(guard.Options{Listen: c.Listen, Socket: c.Socket, TLS: tlsConfig, Logger: logger})
	if err != nil {
		return usageError(err)
	}
	return g.Run(ctx)
}

func logReload(ctx context.Context, logger *slog.Logger, err error) {
	if err != nil {
		logger.ErrorContext(ctx, "changed certificates cannot be used, the earlier ones stay", "error", err)
		return
	}
	logger.InfoContext(ctx, "certificates reloaded")
}
