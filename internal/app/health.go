package app

import (
	"context"
	"os"
	"time"

	"berth/internal/httpapi"
)

// health is the operator's view. Counting asks the store and the engine once each.
func (a *App) health(ctx context.Context) httpapi.Health {
	limits := a.cfg.Limits
	h := httpapi.Health{
		Audit:  a.audit.Load(),
		Status: "healthy", StorageBackend: backendJSON,
		Runtime:      &httpapi.RuntimeHealth{Kind: a.cfg.Session.Runtime, Status: "healthy"},
		Certificates: a.certificates(),
		ResourceLimits: &httpapi.ResourceLimits{
			MemoryLimit: limits.Memory, CPUQuota: limits.CPUQuota, MaxConcurrentSessions: limits.MaxSessions,
		},
		Pool: a.pool(),
	}
	counts, err := a.countSessions(ctx)
	if err == nil {
		err = a.bounded(ctx, a.storage.store.Ping)
	}
	h.Sessions = counts
	if db := a.storage.database; db != nil {
		h.StorageBackend, h.Database, h.Instances = backendDatabase, db.health(ctx), a.instances()
	}
	if err != nil || a.ready() != nil {
		h.Status = "unhealthy"
	} else if h.Database != nil && h.Database.Status != "healthy" {
		h.Status = "degraded" // changes are journalled
	}
	if a.bounded(ctx, a.runtime.Ping) != nil {
		h.Runtime.Status = "unhealthy"
		if h.Status == "healthy" {
			h.Status = "degraded" // running sessions are still served
		}
	}
	return h
}

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
