package app

import (
	"context"
	"log/slog"
	"time"

	"berth/internal/config"
	"berth/internal/docker"
	"berth/internal/engineaddr"
	"berth/internal/hostip"
	"berth/internal/pin"
	"berth/internal/pki"
	"berth/internal/storage"
	"berth/internal/telemetry"
)

// engine is the connection to the Docker engine.
type engine struct {
	*docker.Runtime
	certificates *pki.Monitor     // nil without TLS
	detector     *hostip.Detector // nil: the Docker host is this machine
}

// openEngine connects to the engine for an installation.
func openEngine(ctx context.Context, cfg config.Config, installation string, log *slog.Logger) (*engine, error) {
	d := cfg.Docker
	e := &engine{}
	var err error
	if e.certificates, err = openCertificates(ctx, d, log); err != nil {
		return nil, err
	}
	opts := docker.Options{
		Host: d.Host, Instance: installation, Network: d.Network, PublishIP: cfg.Session.PublishIP, Route: cfg.Session.Route,
		MaxOperations: d.MaxOperations, Sequential: !d.Async, OperationTimeout: d.OperationTimeout.Duration(),
		CPUPeriod: time.Duration(cfg.Limits.CPUPeriod) * time.Microsecond,
		Logger:    telemetry.Named(log, "berth.docker"),
	}
	opts.Subnet, opts.OpenSubnet = cfg.Session.Subnets()
	if e.certificates != nil {
		opts.TLS = e.certificates.Client.TLS()
	}
	// The engine's loopback address is that of the Docker host, whose address has to be detected where that is another machine.
	if d.ReachedAt != "" || !hostip.IsLocal(d.Host) {
		e.detector = hostip.New(hostip.Options{HostIP: d.ReachedAt, DockerHostGateway: d.HostGateway, Gateway: d.Gateway})
		opts.Reach = e.detector.Reach
	}
	if e.Runtime, err = docker.Open(ctx, opts); err != nil {
		return nil, err
	}
	if e.certificates != nil {
		e.certificates.Renew = e.Renew
	}
	return e, nil
}

// openCertificates opens the certificates of the connection. It returns nil for a local socket, which the
// configuration allows explicitly.
func openCertificates(ctx context.Context, d config.Docker, log *slog.Logger) (*pki.Monitor, error) {
	engine, err := engineaddr.ParseTCP(d.Host)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // docker.Open says what is wrong with the address
	}
	pins, err := pin.ParseList(d.TLSPin)
	if err != nil {
		return nil, err
	}
	client, warnings, err := pki.OpenClient(clientPaths(d), pki.ClientOptions{
		ServerName: engine.Host, Pins: pins,
		NoVerify: !d.TLSVerify, // refused in production, warned of elsewhere
		Strict:   d.Env == config.Production,
		Reloaded: func(err error) {
			if err != nil {
				log.ErrorContext(ctx, "certificate reload failed, keeping the previous certificates", "error", err)
				return
			}
			log.InfoContext(ctx, "certificates reloaded")
		},
	})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		log.WarnContext(ctx, "certificate needs attention", "code", w.Code, "path", w.Path, "problem", w.Text)
	}
	return &pki.Monitor{Client: client, Address: engine.HostPort(engineaddr.PortTLS), Logger: log}, nil
}

// dialFailed is called when a connection to a session's server failed: the Docker host may have another address now.
func (a *App) dialFailed() {
	if a.engine != nil && a.engine.detector != nil {
		a.engine.detector.Forget()
	}
}

// Adopt restores the sessions that the engine has and the store lacks; see [storage.Adopt].
func Adopt(ctx context.Context, cfg config.Config, opts storage.AdoptOptions, log *slog.Logger) (storage.AdoptReport, error) {
	return storage.Adopt(ctx, cfg, opts, func(ctx context.Context, installation string) (storage.Engine, error) {
		e, err := openEngine(ctx, cfg, installation, log)
		if err != nil {
			return nil, err
		}
		return e, nil
	}, log)
}
