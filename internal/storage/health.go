package storage

import (
	"context"
	"strings"
	"time"

	"berth/internal/httpapi"
	"berth/internal/session"
	"berth/internal/storage/postgres"
	"berth/internal/storage/record"
)

// Health is the health of the database for operators, and the cause of a failure as a sentence; nil for a file.
func (s *Storage) Health(ctx context.Context, counts record.Counts) (h *httpapi.DatabaseHealth, cause string) {
	db := s.database
	if db == nil {
		return nil, ""
	}
	pool := httpapi.DatabasePool(db.Store.Pool())
	h = &httpapi.DatabaseHealth{Status: "healthy", Pool: &pool}
	if db.failover != nil {
		f := db.failover.Status()
		h.PendingChanges = f.Pending
		if f.Degraded {
			h.Status, h.Reason, h.Since = "unavailable", f.Reason, &f.Since
			return h, unavailable(h.Reason)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := db.Store.Ping(ctx); err != nil {
		h.Status, h.Reason = "unavailable", session.MessageOf(err)
		return h, unavailable(h.Reason)
	}
	if why := db.Store.NotificationFault(); why != "" {
		h.Status, h.Reason = "degraded", why
		cause = "the database does not notify this instance of changes; they are polled every second"
	}
	if at := db.Store.RolledBack(); !at.IsZero() {
		h.Status, h.Reason = "degraded", rolledBack+" (noticed at "+at.UTC().Format(time.RFC3339)+")"
		cause = rolledBack
	}
	h.TotalSessions, h.ActiveSessions = counts.Total(), counts.Active()
	details := db.recentDetails(ctx)
	h.DatabaseSize, h.SchemaVersion, h.Imports = details.Size, details.SchemaVersion, details.Imports
	return h, cause
}

// unavailable is the cause, for operators, of an unavailable database.
func unavailable(reason string) string {
	if strings.HasPrefix(reason, postgres.AnotherDatabase) {
		return reason
	}
	return "the database is unavailable; changes are journalled until it has recovered"
}

// Instances are the processes that work on the database; nil for a file.
func (s *Storage) Instances() []httpapi.Instance {
	if s.database == nil {
		return nil
	}
	all := []httpapi.Instance{}
	for _, p := range s.database.peers.List() {
		all = append(all, httpapi.Instance{
			ID: p.ID, Address: p.Address, Hostname: p.Hostname, Version: p.Version, StartedAt: p.StartedAt,
			SeenAt: p.SeenAt, Alive: p.Alive, Self: p.Self,
		})
	}
	return all
}

// pingTimeout bounds the queries for a report.
const pingTimeout = 2 * time.Second

// detailsAge is the maximum age of the cached database size and list of imports.
const detailsAge = 10 * time.Second

// recentDetails are figures that change slowly. If they cannot be read, the previous ones are returned.
func (db *database) recentDetails(ctx context.Context) DatabaseStatus {
	db.mu.Lock()
	defer db.mu.Unlock()
	if time.Since(db.read) >= detailsAge {
		if now, err := db.describe(ctx); err == nil {
			db.details, db.read = now, time.Now()
		}
	}
	return db.details
}

// describe queries the database's own figures.
func (db *database) describe(ctx context.Context) (DatabaseStatus, error) {
	stats, err := db.Stats(ctx)
	if err != nil {
		return DatabaseStatus{}, err
	}
	status := DatabaseStatus{Size: stats.Size, SchemaVersion: stats.SchemaVersion}
	imports, err := db.Imports(ctx)
	for _, i := range imports {
		status.Imports = append(status.Imports, httpapi.Import{Source: i.Source, At: i.At, Total: i.Total, Added: i.Added, Known: i.Known})
	}
	return status, err
}

// State is the state of the storage that is known without a query.
type State struct {
	Database bool // sessions are in a database; the other fields are about it
	Degraded bool // it is unavailable, and changes are journalled
	Notified bool // change notifications of other processes arrive
	Pending  int  // sessions whose changes are journalled
}

// State returns the zero State for a file.
func (s *Storage) State() State {
	if s.database == nil {
		return State{}
	}
	now := State{Database: true, Notified: s.database.NotificationFault() == ""}
	if s.database.failover != nil {
		f := s.database.failover.Status()
		now.Degraded, now.Pending = f.Degraded, f.Pending
	}
	return now
}
