package app

import (
	"context"
	"os"
	"time"

	"berth/internal/httpapi"
	"berth/internal/session"
)

// health is the operator's view. Counting asks the store and the engine once each.
func (a *App) health(ctx context.Context) httpapi.Health {
	limits, pool := a.cfg.Limits, a.cfg.HTTPPool
	h := httpapi.Health{
		Audit:  a.audit.Load(),
		Status: "healthy", StorageBackend: backendJSON,
		Runtime:      &httpapi.RuntimeHealth{Kind: a.cfg.Session.Runtime, Status: "healthy"},
		Certificates: a.certificates(),
		ResourceLimits: &httpapi.ResourceLimits{
			MemoryLimit: limits.Memory, CPUQuota: limits.CPUQuota, MaxConcurrentSessions: limits.MaxSessions,
		},
		Pool: &httpapi.Pool{Status: "healthy", Config: httpapi.PoolConfig{
			MaxKeepaliveConnections: pool.MaxKeepaliveConnections, MaxConnections: pool.MaxConnections,
			KeepaliveExpiry: pool.KeepaliveExpiry.Duration().Seconds(),
		}},
	}
	store := a.storage.store
	page, err := store.List(ctx, session.Query{})
	if err == nil {
		err = a.bounded(ctx, store.Ping)
	}
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
	h.Sessions = map[session.Status]int{}
	for _, status := range session.Statuses() {
		h.Sessions[status] = 0
	}
	authenticated, now := 0, time.Now()
	for _, s := range page.Sessions {
		h.Sessions[s.Status]++
		if s.TokenValid(now) {
			authenticated++
		}
	}
	h.Authenticated = &authenticated
	return h
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
