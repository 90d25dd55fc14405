package app

import (
	"context"
	"net/http"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/proxy"
	"berth/internal/server"
	"berth/internal/session"
	"berth/internal/storage"
)

func (a *App) newAPI(table *proxy.Table, metrics http.Handler) (*httpapi.API, error) {
	options := httpapi.Options{
		Sessions: a.manager, Access: a.access, Version: a.version, Logger: a.named("httpapi"),
		Ready: a.ready, Health: a.health.Report, Instances: a.instances, Draining: a.draining, Streams: a.descriptors.Events, Streaming: server.HoldConnection,
		Size:       a.health.WorkspaceSize,
		Addresses:  a.origins.All,
		SessionAt:  a.proxy.SessionAt,
		CheckEvery: a.cfg.Health.CheckInterval.Duration(),
		Known:      func(id session.ID) session.Token { r, _ := table.Lookup(id); return r.Token },
		Metrics:    metrics,
		Usage:      a.ledger,
	}
	if a.people != nil {
		options.SignIn = a.people
	}
	return httpapi.New(options)
}

// openServer makes the server, and publishes its address for the command line on this machine.
func (a *App) openServer(ctx context.Context, dir storage.Dir, handler http.Handler) {
	options := server.Options{
		Listener: a.listen, Handler: handler, Client: a.client, MaxConnections: a.descriptors.Clients, Draining: a.draining,
		Logger: a.named("http"),
	}
	if a.certificates != nil {
		options.TLS = a.certificates.TLS()
	}
	a.server = server.New(options)
	a.onStop("server", func(context.Context) error { return a.server.Close() })
	a.publishAddress(ctx, dir)
}

// client returns the client that sent a request.
func (a *App) client(r *http.Request) *access.Client {
	return a.proxies.Client(r.RemoteAddr, r.TLS != nil, r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Proto"], a.cfg.Proxy.TrustForwardedProto)
}
