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

// Health is the operator's view of the database, and the cause of its failure in a sentence; nil for a file.
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
		cause = "the database does not notify this instance of changes; they are looked for every second"
	}
	if at := db.Store.WentBack(); !at.IsZero() {
		h.Status, h.Reason = "degraded", wentBack+" (noticed at "+at.UTC().Format(time.RFC3339)+")"
		cause = wentBack
	}
	h.TotalSessions, h.ActiveSessions = counts.Total(), counts.Active()
	details := db.recentDetails(ctx)
	h.DatabaseSize, h.SchemaVersion, h.Imports = details.Size, details.SchemaVersion, details.Imports
	return h, cause
}

// unavailable is the cause that people are given for a database that is not available.
func unavailable(reason string) string {
	if strings.HasPrefix(reason, postgres.AnotherDatabase) {
		return reason
	}
	return "the database is away; changes are kept until it returns"
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

// pingTimeout bounds the questions to the database for a report.
const pingTimeout = 2 * time.Second

// detailsAge is how old the size of the database and the list of imports may be.
const detailsAge = 10 * time.Second

// recentDetails are figures that change slowly, and are not worth an alarm: what cannot be read is as it was.
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

// describe asks the database about itself.
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

// State is how the storage is, as far as that is known without a question.
type State struct {
	Database bool // the rest is about
	Degraded bool // it is unavailable, and changes are journalled
	Notified bool // this process is told of changes by others
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
