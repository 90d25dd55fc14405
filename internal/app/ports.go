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

// routes receives the routes of sessions, for the proxy, the ports and the gateway.
func (a *App) routes(table *proxy.Table) session.Routes {
	receivers := allRoutes{table}
	if a.ports != nil {
		receivers = append(receivers, a.ports)
	}
	if a.gateway != nil {
		receivers = append(receivers, a.gateway.callers)
	}
	return receivers
}

// allRoutes passes routes on to several receivers.
type allRoutes []session.Routes

// Set implements [session.Routes].
func (all allRoutes) Set(r session.Route) {
	for _, to := range all {
		to.Set(r)
	}
}

// Remove implements [session.Routes].
func (all allRoutes) Remove(id session.ID) {
	for _, to := range all {
		to.Remove(id)
	}
}
