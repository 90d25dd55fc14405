// Package health reports the health of all components, with remedies. It pings the store and the engine once for each report, and
// otherwise uses existing measurements. It changes nothing.
package health

import (
	"context"
	"time"

	"berth/internal/config"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/pki"
	"berth/internal/pressure"
	"berth/internal/proxy"
	"berth/internal/session"
	"berth/internal/storage"
	"berth/internal/storage/record"
	"berth/internal/workspace"
)

// Store is the store of the sessions.
type Store interface {
	Count(ctx context.Context) (record.Counts, error)
	Ping(ctx context.Context) error
}

// Reporter creates the reports. All fields are required unless their comment says otherwise.
type Reporter struct {
	Config          config.Config
	Limits          func() config.Limits // the present limits
	Ready           func() error         // returns nil if sessions can be served
	Store           Store
	Storage         *storage.Storage // behind the Store
	Engine          session.Runtime
	EngineElsewhere bool // the engine is on another machine
	Manager         *lifecycle.Manager
	Proxy           *proxy.Proxy
	Pressure        *pressure.Monitor
	Disks           *pressure.DiskMonitor
	Workspaces      *workspace.Monitor
	Certificates    func() []pki.Expiry           // of the engine's connection and the listener
	SecurityCheck   func() *httpapi.SecurityCheck // the last result; nil: none yet
}

// timeout bounds each ping of the store and the engine.
const timeout = 2 * time.Second

// Report returns the report for operators.
func (r *Reporter) Report(ctx context.Context) httpapi.Health {
	limits := r.Limits()
	h := httpapi.Health{
		SecurityCheck:  r.SecurityCheck(),
		StorageBackend: "json",
		Runtime:        &httpapi.RuntimeHealth{Kind: r.Config.Session.Runtime, Status: "healthy"},
		Certificates:   r.certificates(),
		ResourceLimits: &httpapi.ResourceLimits{
			MemoryLimit: limits.Memory, CPUQuota: limits.CPUQuota, MaxConcurrentSessions: limits.MaxSessions,
		},
		Pool:       r.pool(),
		Workspaces: r.workspaces(),
	}
	h.Resources, h.Alerts = r.resources()
	disks, alerts := r.disks()
	h.Disks, h.Alerts = disks, append(h.Alerts, alerts...)
	counts, unreadable := r.Store.Count(ctx)
	if unreadable == nil {
		unreadable = Ping(ctx, r.Store.Ping)
	}
	h.Sessions, h.Authenticated = counts.ByStatus, &counts.Authenticated
	faults := faults{notReady: r.Ready() != nil, unreadable: unreadable != nil, unrecorded: r.Manager.Unrecorded() > 0, foreign: r.Storage.ForeignSessions()}
	if h.Database, faults.database = r.Storage.Health(ctx, counts); h.Database != nil {
		h.StorageBackend, h.Instances = "database", r.Storage.Instances()
	}
	if err := Ping(ctx, r.Engine.Ping); err != nil {
		h.Runtime.Status, h.Runtime.Detail = "unhealthy", session.MessageOf(err)
		if r.Config.Session.Runtime == config.RuntimeDocker {
			h.Runtime.Detail += "; DOCKER_HOST is " + r.Config.Docker.Host
		}
	}
	h.Status, h.Reasons = overall(h, faults)
	return h
}

// Ping calls ping with the time-out of a report.
func Ping(ctx context.Context, ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return ping(ctx)
}

// certificates reports the certificates and their expiry; none without TLS.
func (r *Reporter) certificates() []httpapi.Certificate {
	if r.Certificates == nil {
		return nil
	}
	var all []httpapi.Certificate
	for _, e := range r.Certificates() {
		all = append(all, httpapi.Certificate{
			Certificate: e.Certificate(), Subject: e.Subject, Serial: e.Serial, ExpiresAt: e.NotAfter, DaysLeft: e.DaysLeft, Level: string(e.Urgency),
		})
	}
	return all
}

// pool reports the present use of the proxy's connections.
func (r *Reporter) pool() *httpapi.Pool {
	set, load := r.Config.HTTPPool, r.Proxy.Load()
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
