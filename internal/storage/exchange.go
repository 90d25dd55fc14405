package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"berth/internal/access"
	"berth/internal/config"
	"berth/internal/httpapi"
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
)

// Status says where sessions are and how many there are.
type Status struct {
	Backend  string                 `json:"backend"` // "database" or "json"
	Total    int                    `json:"total_sessions"`
	Active   int                    `json:"active_sessions"` // creating or running
	Sessions map[session.Status]int `json:"sessions"`
	File     string                 `json:"file,omitempty"`   // of the backend "json"
	Pending  int                    `json:"pending_sessions"` // that the journal of this state directory has and the database may not

	*DatabaseStatus // of the backend "database"
}

// DatabaseStatus is what the database reports about itself.
type DatabaseStatus struct {
	Size          string           `json:"database_size,omitempty"` // for people, like "25 MB"
	SchemaVersion int64            `json:"schema_version,omitempty"`
	Imports       []httpapi.Import `json:"imports,omitempty"`
}

// ImportReport says what became of a file's sessions.
type ImportReport struct {
	Format       string              `json:"format"` // of the file; see jsonfile.Contents
	Total        int                 `json:"total"`  // sessions that could be read
	Added        int                 `json:"added"`  // of those: new ones
	Known        int                 `json:"known"`  // of those: the store had them in the same or a newer version
	Repeated     bool                `json:"repeated"`
	Rejected     []jsonfile.Rejected `json:"rejected"`
	RejectedFile string              `json:"rejected_file,omitempty"` // empty when there are none, or nothing was to be changed
}

// Inspect looks at the store that the configuration names. The file of a Berth that serves is in use, which is a
// CodeStoreUnavailable error; a database is not.
func Inspect(ctx context.Context, cfg config.Config, log *slog.Logger) (Status, error) {
	status := Status{Backend: backendJSON, Sessions: map[session.Status]int{}}
	if !cfg.Database.Use {
		status.File = Dir(cfg.Server.StateDir).path(storeFile)
	}
	all, err := look(ctx, cfg, log, func(s *Storage) error {
		status.Backend = backendDatabase
		database, err := s.database.describe(ctx)
		if err != nil {
			return err
		}
		status.DatabaseStatus = &database
		status.Pending, err = s.dir.pendingSessions()
		return err
	})
	for _, v := range all {
		status.Total++
		status.Sessions[v.Status]++
		if v.Occupies() {
			status.Active++
		}
	}
	return status, err
}

// look returns the sessions of the store that the configuration names: of the file, into which it writes nothing, or of the
// database, at which more is then to be looked.
func look(ctx context.Context, cfg config.Config, log *slog.Logger, more func(*Storage) error) ([]session.Session, error) {
	if !cfg.Database.Use {
		if err := CheckPrivate(cfg.Server.StateDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return jsonfile.Look(ctx, Dir(cfg.Server.StateDir).path(storeFile))
	}
	var page session.Page
	err := byHand(ctx, cfg, log, func(s *Storage) (err error) {
		if page, err = s.backend.List(ctx, session.Query{}); err != nil {
			return err
		}
		return more(s)
	})
	return page.Sessions, err
}

// pendingSessions counts what the journal holds.
func (d Dir) pendingSessions() (int, error) {
	data, err := os.ReadFile(d.path(pendingFile)) // whole at any time, also while a Berth that serves writes it
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	contents, err := jsonfile.Read(data, func(string) string { return "" })
	if contents.Retired {
		return 0, err
	}
	return len(contents.Sessions), err
}

// Export returns every session in the form of the session file, and how many there are.
func Export(ctx context.Context, cfg config.Config, log *slog.Logger) (data []byte, count int, err error) {
	all, err := look(ctx, cfg, log, func(*Storage) error { return nil })
	if err == nil {
		data, err = jsonfile.Write(all)
	}
	return data, len(all), err
}

// Import adds a file's sessions to the store, those excepted that it has in the same or a newer version. What
// cannot be read is kept aside in the state directory. With dryRun it only says what would happen.
func Import(ctx context.Context, cfg config.Config, data []byte, dryRun bool, log *slog.Logger) (ImportReport, error) {
	var report ImportReport
	err := byHand(ctx, cfg, log, func(s *Storage) error {
		keys, err := s.keys(ctx)
		if err != nil {
			return err
		}
		contents, err := readSessions(data, keys, cfg.Token.Expiry())
		if err != nil {
			return session.Errorf(session.CodeInvalid, "the file cannot be imported: %s", err)
		}
		report = ImportReport{Format: contents.Format, Total: len(contents.Sessions), Rejected: append([]jsonfile.Rejected{}, contents.Rejected...)}
		if dryRun {
			_, err := report.compare(ctx, s.backend, contents.Sessions)
			return err
		}
		if report.RejectedFile, err = keepAside(s.dir.path("import"), contents.Rejected); err != nil {
			return err
		}
		return s.backend.add(ctx, &report, sourceOf(data), contents.Sessions)
	})
	return report, err
}

// keys returns what tokens in clear text are digested with.
func (s *Storage) keys(ctx context.Context) (access.Keys, error) {
	id, err := s.backend.agree(ctx)
	if err != nil {
		return access.Keys{}, err
	}
	return id.Keys()
}

// compare counts what an import would do, and returns the sessions that it would add.
func (r *ImportReport) compare(ctx context.Context, store session.Store, sessions []session.Session) (added []session.Session, err error) {
	for _, v := range sessions {
		old, err := store.Get(ctx, v.ID)
		switch {
		case session.CodeOf(err) == session.CodeNotFound || err == nil && old.Revision < v.Revision:
			added = append(added, v)
		case err != nil:
			return nil, fmt.Errorf("look for session %s: %w", v.ID, err)
		default:
			r.Known++
		}
	}
	r.Added = len(added)
	return added, nil
}
