package main

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"berth/internal/config"
	"berth/internal/engineaddr"
	"berth/internal/guard"
	"berth/internal/pki"
	"berth/internal/telemetry"
)

type guardCmd struct {
	Listen    string          `env:"BERTH_GUARD_LISTEN" default:"tcp://127.0.0.1:2376" placeholder:"ADDRESS" help:"Address to listen on (BERTH_GUARD_LISTEN). Default: ${default}."`
	Socket    string          `env:"BERTH_GUARD_SOCKET" default:"/var/run/docker.sock" placeholder:"FILE" help:"The engine's unix socket (BERTH_GUARD_SOCKET). Default: ${default}."`
	CertDir   string          `env:"DOCKER_CERT_PATH" default:"${cert_dir}" placeholder:"DIR" help:"Directory of ca.pem, server-cert.pem and server-key.pem (DOCKER_CERT_PATH). Default: ${default}."`
	Env       string          `env:"DOCKER_ENV" enum:"development,test,staging,production" default:"development" placeholder:"ENVIRONMENT" help:"Kind of installation (DOCKER_ENV): ${enum}. In production, certificates that other users can change and keys that everybody can read are an error instead of a warning."`
	LogLevel  config.LogLevel `env:"LOG_LEVEL" default:"INFO" placeholder:"LEVEL" help:"DEBUG, INFO, WARNING, ERROR or CRITICAL (LOG_LEVEL). DEBUG shows every request."`
	LogFormat string          `env:"LOG_FORMAT" enum:"json,human,auto" default:"auto" placeholder:"FORM" help:"Form of the log lines, which go to standard error (LOG_FORMAT): ${enum}."`
}

// Help is shown by berth guard --help.
func (guardCmd) Help() string {
	return `Proxies the Docker engine: it requires a client certificate of Berth's authority over TLS 1.3, and forwards the requests to
the engine's socket. It is the only part of Berth that opens that socket, so it runs as root or in the socket's group, and
the rest of Berth as another user.

Certificates that change on disk are used without a restart. A client certificate that has expired, was revoked (crl.pem,
written by berth certs revoke) or belongs to a retired authority is refused within a second, and its open connections are
closed. The guard does not start when a required crl.pem is missing or older than the records beside it say: berth certs init
--dir DIR recreates it where the authority's key is. The exit code is 2 for files that must be corrected by hand, and 1 for
other failures.

Examples:

    berth guard
    berth guard --listen tcp://10.0.0.5:2376 --cert-dir /etc/berth/certs
    docker --tlsverify --tlscacert docker/certs/ca.pem --tlscert docker/certs/client-cert.pem \
        --tlskey docker/certs/client-key.pem -H tcp://127.0.0.1:2376 ps`
}

// Run serves the guard until ctx is done.
func (c *guardCmd) Run(ctx context.Context, std *stdio) error {
	// The log file belongs to the server: two processes must not rotate one file.
	logger, closer, err := telemetry.NewLogger(telemetry.Options{Level: c.LogLevel.Level(), Format: c.LogFormat, Console: std.Err, Journal: std.isJournal()})
	if err != nil {
		return usageError(err)
	}
	// Only the console was opened.
	defer func() { _ = closer.Close() }()
	logger = telemetry.Named(logger, "guard")
	defer telemetry.RedirectStandardLog(telemetry.Named(logger, "standard"))()

	server, warnings, err := pki.OpenServer(pki.ServerPaths(c.CertDir), pki.ServerOptions{
		Reloaded: func(err error) { logReload(ctx, logger, err) },
		Strict:   c.Env == config.Production,
	})
	if err != nil {
		return settingsError(err)
	}
	for _, w := range warnings {
		logger.WarnContext(ctx, "certificate warning", "code", w.Code, "path", w.Path, "detail", w.Text)
	}
	g, err := guard.New(guard.Options{Listen: c.Listen, Socket: c.Socket, TLS: server.TLS(), Admits: server.Admits, Logger: logger})
	if err != nil {
		return usageError(err)
	}
	if err := checkSocket(ctx, c.Socket); err != nil {
		// The engine may start later; until then requests are answered with an error.
		logger.WarnContext(ctx, "engine socket does not answer", "socket", c.Socket, "error", err,
			"remedy", "start the engine, run the guard as root or in the socket's group, or name the right socket with --socket")
	}
	var background sync.WaitGroup
	defer background.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	background.Go(func() { server.Watch(ctx) })
	background.Go(func() { logExpiries(ctx, logger, server) })
	background.Go(func() { // units that are ordered after the guard start when it listens
		select {
		case <-g.Ready():
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
		case <-ctx.Done():
		}
	})
	return g.Run(ctx)
}

// checkSocket connects to the engine's socket.
func checkSocket(ctx context.Context, socket string) error {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", engineaddr.SocketPath(socket))
	if err != nil {
		return err
	}
	return conn.Close()
}

// logExpiries logs the certificates that will expire soon, once a day each, until ctx is done.
func logExpiries(ctx context.Context, logger *slog.Logger, server *pki.Server) {
	var reminder pki.Reminder
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		for _, e := range server.Expiries() {
			remedy := "run berth certs renew"
			if e.Kind == pki.KindCA {
				remedy = "run berth certs rotate"
			}
			reminder.Log(ctx, logger, e, string(e.Kind), remedy)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func logReload(ctx context.Context, logger *slog.Logger, err error) {
	if err != nil {
		logger.ErrorContext(ctx, "certificate reload failed, keeping the previous certificates", "error", err)
		return
	}
	logger.InfoContext(ctx, "certificates reloaded")
}
