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
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
	"berth/internal/storage/postgres"
)

// Status says where sessions are and how many there are.
type Status struct {
	Backend  string // "database" or "json"
	Sessions map[session.Status]int
	Active   int             // creating or running
	File     string          // of the backend "json"
	Pending  int             // sessions that the journal of this state directory has and the database may not
	Database *DatabaseStatus // of the backend "database"
}

// DatabaseStatus is what the database tells of itself.
type DatabaseStatus struct {
	Size          string // for people, like "25 MB"
	SchemaVersion int64
	Imports       []postgres.Import
}

// ImportReport says what became of a file's sessions.
type ImportReport struct {
	Format              string // of the file; see jsonfile.Contents
	Total, Added, Known int    // sessions that could be read, that are new, that the store had in the same or a newer version
	Rejected            []jsonfile.Rejected
	RejectedFile        string // where those were kept; empty when there are none, or nothing was to be changed
	Repeated            bool   // the same file was imported before
}

// Inspect looks at the store that the configuration names. The file of a Berth that serves is in use, which is a
// CodeStoreUnavailable error; a database is not.
func Inspect(ctx context.Context, cfg config.Config, log *slog.Logger) (Status, error) {
	status := Status{Backend: backendJSON, Sessions: map[session.Status]int{}}
	count := func(all []session.Session) {
		for _, v := range all {
			status.Sessions[v.Status]++
			if v.Occupies() {
				status.Active++
			}
		}
	}
	if !cfg.Database.Use {
		status.File = Dir(cfg.Server.StateDir).path(storeFile)
		all, err := lookAtFile(ctx, cfg)
		count(all)
		return status, err
	}
	err := byHand(ctx, cfg, log, func(s *Storage) error {
		page, err := s.backend.List(ctx, session.Query{})
		if err != nil {
			return err
		}
		count(page.Sessions)
		status.Backend = backendDatabase
		stats, err := s.database.Stats(ctx)
		if err != nil {
			return err
		}
		imports, err := s.database.Imports(ctx)
		if err != nil {
			return err
		}
		status.Database = &DatabaseStatus{Size: stats.Size, SchemaVersion: stats.SchemaVersion, Imports: imports}
		status.Pending, err = s.dir.pendingSessions()
		return err
	})
	return status, err
}

// lookAtFile returns the sessions of the file in the state directory, and writes nothing.
func lookAtFile(ctx context.Context, cfg config.Config) ([]session.Session, error) {
	if err := CheckPrivate(cfg.Server.StateDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return jsonfile.Look(ctx, Dir(cfg.Server.StateDir).path(storeFile))
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
	if !cfg.Database.Use {
		all, err := lookAtFile(ctx, cfg)
		if err == nil {
			data, err = jsonfile.Write(all)
		}
		return data, len(all), err
	}
	err = byHand(ctx, cfg, log, func(s *Storage) error {
		page, err := s.backend.List(ctx, session.Query{})
		if err != nil {
			return err
		}
		count = len(page.Sessions)
		data, err = jsonfile.Write(page.Sessions)
		return err
	})
	return data, count, err
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
		report = ImportReport{Format: contents.Format, Total: len(contents.Sessions), Rejected: contents.Rejected}
		if dryRun {
			return report.compare(ctx, s.backend, contents.Sessions)
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

// compare counts what an import would do.
func (r *ImportReport) compare(ctx context.Context, store session.Store, sessions []session.Session) error {
	for _, v := range sessions {
		old, err := store.Get(ctx, v.ID)
		switch {
		case session.CodeOf(err) == session.CodeNotFound || err == nil && old.Revision < v.Revision:
			r.Added++
		case err != nil:
			return fmt.Errorf("look for session %s: %w", v.ID, err)
		default:
			r.Known++
		}
	}
	return nil
}
