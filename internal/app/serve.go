package app

import (
	"context"
	"errors"
	"net"
	"net/http"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/origin"
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
		Addresses:  a.origins.Of,
		CheckEvery: a.cfg.Health.CheckInterval.Duration(),
		Known:      func(id session.ID) session.Token { r, _ := table.Lookup(id); return r.Token },
		Metrics:    metrics,
	})
}

// openListener opens the listener, on whose address the origins of sessions depend.
func (a *App) openListener(ctx context.Context) (err error) {
	if a.listen = a.around.listener; a.listen == nil {
		if a.listen, err = server.Listen(ctx, a.cfg.Server.Listen); err != nil {
			return err
		}
	}
	a.onStop("listener", func(context.Context) error {
		if err := a.listen.Close(); !errors.Is(err, net.ErrClosed) { // a server has closed it
			return err
		}
		return nil
	})
	public, err := a.cfg.Server.Public()
	if err != nil {
		return err
	}
	options := origin.Options{Domain: a.cfg.Session.Domain, Public: public}
	if at, ok := a.listen.Addr().(*net.TCPAddr); ok {
		options.Listen, options.Loopback = at.AddrPort().Port(), at.IP.IsLoopback()
	}
	a.origins = origin.New(options)
	return nil
}

// openServer makes the server, and publishes its address for the command line on this machine.
func (a *App) openServer(ctx context.Context, dir storage.Dir, handler http.Handler) {
	a.server = server.New(server.Options{
		Listener: a.listen, Handler: handler, Client: a.client, MaxConnections: a.descriptors.Clients, Draining: a.draining,
		Logger: a.named("http"),
	})
	a.onStop("server", func(context.Context) error { return a.server.Close() })
	a.publishAddress(ctx, dir)
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
