package app

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"berth/internal/config"
	"berth/internal/httpapi"
	"berth/internal/pki"
	"berth/internal/postgres"
	"berth/internal/pressure"
	"berth/internal/session"
)

// health is the operator's view. The store and the engine are asked once each.
func (a *App) health(ctx context.Context) httpapi.Health {
	limits := a.live.Load().Limits
	h := httpapi.Health{
		Audit:          a.audit.Load(),
		StorageBackend: backendJSON,
		Runtime:        &httpapi.RuntimeHealth{Kind: a.cfg.Session.Runtime, Status: "healthy"},
		Certificates:   a.certificates(),
		ResourceLimits: &httpapi.ResourceLimits{
			MemoryLimit: limits.Memory, CPUQuota: limits.CPUQuota, MaxConcurrentSessions: limits.MaxSessions,
		},
		Pool:       a.pool(),
		Workspaces: a.workspaces(),
	}
	a.pressure.report(&h)
	a.reportDisks(&h)
	counts, unreadable := a.store.Count(ctx)
	if unreadable == nil {
		unreadable = a.bounded(ctx, a.store.Ping)
	}
	h.Sessions, h.Authenticated = counts.ByStatus, &counts.Authenticated
	if db := a.storage.database; db != nil {
		h.StorageBackend, h.Database, h.Instances = backendDatabase, db.health(ctx, counts), a.instances()
	}
	if err := a.bounded(ctx, a.runtime.Ping); err != nil {
		h.Runtime.Status, h.Runtime.Detail = "unhealthy", session.MessageOf(err)
		if a.cfg.Session.Runtime == config.RuntimeDocker {
			h.Runtime.Detail += "; DOCKER_HOST is " + a.cfg.Docker.Host
		}
	}
	h.Status, h.Reasons = overall(h, a.ready() != nil, unreadable != nil, a.manager.Unrecorded() > 0, a.neighbours.fault())
	return h
}

// overall is the status of the whole, and why it is not healthy: the table in docs/operating.md.
func overall(h httpapi.Health, notReady, unreadable, unrecorded bool, neighbours string) (status string, reasons []string) {
	status = "healthy"
	for _, row := range []struct {
		holds          bool
		status, reason string
	}{
		{notReady, "unhealthy", "Berth is starting or stopping"},
		{unreadable, "unhealthy", "the store cannot be read or written"},
		{h.Database != nil && h.Database.Status != "healthy", "degraded", databaseReason(h.Database)},
		{h.Runtime.Status != "healthy", "degraded", "the engine cannot be reached, see runtime.detail; running sessions are served, none can be started"},
		{unrecorded, "degraded", "the engine has containers of this installation that the store does not know; they are kept, see berth store adopt"},
		{neighbours != "", "degraded", neighbours},
		{h.Resources.Status == pressure.Critical.String(), "degraded", "the host is short of memory or CPU time; no session is started"},
		{isDiskFull(h, diskEngine), "degraded", "the engine's disk is full; sessions cannot be created, and those that run cannot save their work"},
		{isDiskFull(h, diskState), "degraded", "the disk of the state directory is full; only what frees resources is still recorded"},
		{slices.ContainsFunc(h.Certificates, expires), "degraded", "a certificate has expired or is about to"},
	} {
		if !row.holds {
			continue
		}
		reasons = append(reasons, row.reason)
		if status != "unhealthy" {
			status = row.status
		}
	}
	return status, reasons
}

// databaseReason says what is wrong with a database that is not healthy.
func databaseReason(d *httpapi.DatabaseHealth) string {
	switch {
	case d == nil:
		return ""
	case strings.HasPrefix(d.Reason, postgres.AnotherDatabase):
		return d.Reason
	case d.Status == "unavailable":
		return "the database is away; changes are kept until it returns"
	case strings.HasPrefix(d.Reason, wentBack):
		return wentBack
	}
	return "the database does not notify this instance of changes; they are looked for every second"
}

func isDiskFull(h httpapi.Health, name string) bool {
	return slices.ContainsFunc(h.Disks, func(d httpapi.Disk) bool {
		return d.Disk == name && d.Status == pressure.Critical.String()
	})
}

func expires(c httpapi.Certificate) bool { return c.Level == string(pki.UrgencyCritical) }

// pool is how the proxy's connections are used now.
func (a *App) pool() *httpapi.Pool {
	set, load := a.cfg.HTTPPool, a.proxy.Load()
	p := &httpapi.Pool{
		Status: "healthy", Connections: load.Connections, Requests: load.Requests, Waiting: load.Waiting, Streams: load.Streams,
		Config: httpapi.PoolConfig{
			MaxKeepaliveConnections: set.MaxKeepaliveConnections, MaxConnections: set.MaxConnections,
			KeepaliveExpiry: set.KeepaliveExpiry.Duration().Seconds(), ConnectTimeout: set.ConnectTimeout.Duration().Seconds(),
			ReadTimeout: set.ReadTimeout.Duration().Seconds(),
		},
	}
	if load.Waiting > 0 {
		p.Status = "saturated"
	}
	return p
}

// instances lists the processes that serve the same sessions, this one alone where they are in a file.
func (a *App) instances() []httpapi.Instance {
	if db := a.storage.database; db != nil {
		var all []httpapi.Instance
		for _, p := range db.peers.List() {
			all = append(all, httpapi.Instance{
				ID: p.ID, Address: p.Address, Hostname: p.Hostname, Version: p.Version, StartedAt: p.StartedAt,
				SeenAt: p.SeenAt, Alive: p.Alive, Self: p.Self,
			})
		}
		return all
	}
	hostname, _ := os.Hostname() // for people; empty will do
	return []httpapi.Instance{{
		ID: "self", Address: a.Addr().String(), Hostname: hostname, Version: a.version, StartedAt: a.begun, SeenAt: time.Now().UTC(),
		Alive: true, Self: true,
	}}
}

// healthTimeout bounds each question that /health asks.
const healthTimeout = 2 * time.Second

func (a *App) bounded(ctx context.Context, ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return ping(ctx)
}
