package app

import (
	"context"
	"net"

	"berth/internal/proxy"
	"berth/internal/session"
	"berth/internal/sessionport"
	"berth/internal/storage"
)

// openPorts reads which session has which port, if sessions have ports of their own.
func (a *App) openPorts(dir storage.Dir) error {
	first, last, err := a.cfg.Session.PortRange()
	if err != nil || first == 0 {
		return err
	}
	host, _, err := net.SplitHostPort(a.cfg.Server.Listen)
	if err != nil {
		return err
	}
	a.ports, err = sessionport.New(sessionport.Options{
		First: first, Last: last, Host: host, File: dir.PortsFile(), Logger: a.named("ports"),
	})
	return err
}

// servePort serves a session's port until it is closed.
func (a *App) servePort(l net.Listener) {
	if err := a.server.ServeAlso(l); err != nil {
		a.log.WarnContext(context.Background(), "port of a session not served", "address", l.Addr().String(), "error", err)
	}
}

// proxyPorts are the ports as the proxy knows them; nil: there are none.
func (a *App) proxyPorts() proxy.Ports {
	if a.ports == nil {
		return nil
	}
	return a.ports
}

// routes receives the routes of sessions, for the proxy and for the ports.
func (a *App) routes(table *proxy.Table) session.Routes {
	if a.ports == nil {
		return table
	}
	return bothRoutes{table, a.ports}
}

// bothRoutes passes routes on to two receivers.
type bothRoutes struct{ first, second session.Routes }

// Set implements [session.Routes].
func (b bothRoutes) Set(r session.Route) {
	b.first.Set(r)
	b.second.Set(r)
}

// Remove implements [session.Routes].
func (b bothRoutes) Remove(id session.ID) {
	b.first.Remove(id)
	b.second.Remove(id)
}
