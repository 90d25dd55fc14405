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
	return httpapi.New(httpapi.Options{
		Sessions: a.manager, Access: a.access, Version: a.version, Logger: a.named("httpapi"),
		Ready: a.ready, Health: a.health.Report, Instances: a.instances, Draining: a.draining, Streams: a.descriptors.Events, Streaming: server.HoldConnection,
		Size:       a.health.WorkspaceSize,
		CheckEvery: a.cfg.Health.CheckInterval.Duration(),
		Known:      func(id session.ID) session.Token { r, _ := table.Lookup(id); return r.Token },
		Metrics:    metrics,
	})
}

// openServer opens the listener, publishes its address for the command line on this machine, and makes the server.
func (a *App) openServer(ctx context.Context, dir storage.Dir, handler http.Handler) error {
	listener := a.around.listener
	if listener == nil {
		var err error
		if listener, err = server.Listen(ctx, a.cfg.Server.Listen); err != nil {
			return err
		}
	}
	a.server = server.New(server.Options{
		Listener: listener, Handler: handler, Client: a.client, MaxConnections: a.descriptors.Clients, Draining: a.draining,
		Logger: a.named("http"),
	})
	a.onStop("listener", func(context.Context) error { return a.server.Close() })
	a.publishAddress(ctx, dir)
	return nil
}

// publishAddress writes the address of this process to a file, for the command line on this machine. A full disk must not
// keep Berth from serving, so a failure is only logged.
func (a *App) publishAddress(ctx context.Context, dir storage.Dir) {
	url := server.LocalURL(a.server.Addr())
	if url == "" { // not a TCP socket, so that the command line cannot connect
		return
	}
	if err := dir.PublishAddress(url); err != nil {
		a.log.WarnContext(ctx, "address not written, the command line needs --url", "path", dir.AddressFile(), "error", err)
		return
	}
	a.onStop("address", func(context.Context) error { return dir.WithdrawAddress() })
}

// client returns the client that sent a request.
func (a *App) client(r *http.Request) *access.Client {
	return a.proxies.Client(r.RemoteAddr, r.TLS != nil, r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Proto"], a.cfg.Proxy.TrustForwardedProto)
}
