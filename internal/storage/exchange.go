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

// Status is the backend and the number of sessions.
type Status struct {
	Backend  string                 `json:"backend"` // "database" or "json"
	Total    int                    `json:"total_sessions"`
	Active   int                    `json:"active_sessions"` // creating or running
	Sessions map[session.Status]int `json:"sessions"`
	File     string                 `json:"file,omitempty"`   // of the backend "json"
	Pending  int                    `json:"pending_sessions"` // in the journal of this state directory, and perhaps not in the database

	*DatabaseStatus // of the backend "database"
}

// DatabaseStatus is the database's figures about itself.
type DatabaseStatus struct {
	Size          string           `json:"database_size,omitempty"` // formatted, like "25 MB"
	SchemaVersion int64            `json:"schema_version,omitempty"`
	Imports       []httpapi.Import `json:"imports,omitempty"`
}

// ImportReport is the result of an import.
type ImportReport struct {
	Format   string `json:"format"` // of the file; see jsonfile.Contents
	Total    int    `json:"total"`  // sessions that could be read
	Added    int    `json:"added"`  // of those: new ones
	Known    int    `json:"known"`  // of those: already in the store, in the same or a newer version
	Repeated bool   `json:"repeated"`
	// PlatformTokens are those that were added; of a dry run, those in the file.
	PlatformTokens int                 `json:"platform_tokens,omitempty"`
	Rejected       []jsonfile.Rejected `json:"rejected"`
	RejectedFile   string              `json:"rejected_file,omitempty"` // empty if there are none, and in a dry run
}

// Inspect reads the configured store. The file of a running Berth is in use, which is a CodeStoreUnavailable error; a database
// can be read.
func Inspect(ctx context.Context, cfg config.Config, log *slog.Logger) (Status, error) {
	status := Status{Backend: backendJSON, Sessions: map[session.Status]int{}}
	if !cfg.Database.Use {
		status.File = Dir(cfg.Server.StateDir).path(storeFile)
	}
	all, err := readAll(ctx, cfg, log, func(s *Storage) error {
		status.Backend = backendDatabase
		database, err := s.database.describe(ctx)
		if err != nil {
			return err
		}
		status.DatabaseStatus = &database
		status.Pending, err = s.dir.pendingSessions()
		return err
	})
	for _, v := range all.Sessions {
		status.Total++
		status.Sessions[v.Status]++
		if v.Occupies() {
			status.Active++
		}
	}
	return status, err
}

// readAll returns the content of the configured store: of the file, without writing to it, or of the database, on which more
// is called then.
func readAll(ctx context.Context, cfg config.Config, log *slog.Logger, more func(*Storage) error) (jsonfile.Contents, error) {
	if !cfg.Database.Use {
		if err := CheckPrivate(cfg.Server.StateDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return jsonfile.Contents{}, err
		}
		return jsonfile.ReadOnly(ctx, Dir(cfg.Server.StateDir).path(storeFile))
	}
	var contents jsonfile.Contents
	err := withBackend(ctx, cfg, log, func(s *Storage) error {
		page, err := s.backend.List(ctx, session.Query{})
		if err != nil {
			return err
		}
		contents.Sessions = page.Sessions
		if contents.PlatformTokens, err = s.backend.PlatformTokens(ctx); err != nil {
			return err
		}
		return more(s)
	})
	return contents, err
}

// pendingSessions counts the sessions in the journal.
func (d Dir) pendingSessions() (int, error) {
	data, err := os.ReadFile(d.path(pendingFile)) // it is replaced atomically, so that it is complete also while Berth is running
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

// Export returns all sessions and platform tokens in the format of the session file, and the number of sessions.
func Export(ctx context.Context, cfg config.Config, log *slog.Logger) (data []byte, count int, err error) {
	all, err := readAll(ctx, cfg, log, func(*Storage) error { return nil })
	if err == nil {
		data, err = jsonfile.Write(all.Sessions, all.PlatformTokens...)
	}
	return data, len(all.Sessions), err
}

// Import adds a file's sessions to the store, except those that it has in the same or a newer version. Entries that cannot be
// read are written to a file in the state directory. With dryRun nothing is changed.
func Import(ctx context.Context, cfg config.Config, data []byte, dryRun bool, log *slog.Logger) (ImportReport, error) {
	var report ImportReport
	err := withBackend(ctx, cfg, log, func(s *Storage) error {
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
			report.PlatformTokens = len(contents.PlatformTokens)
			_, err := report.compare(ctx, s.backend, contents.Sessions)
			return err
		}
		if report.RejectedFile, err = writeRejected(s.dir.path("import"), contents.Rejected); err != nil {
			return err
		}
		return s.backend.add(ctx, &report, sourceOf(data), contents)
	})
	return report, err
}

// keys returns the keys for the digests of tokens in clear text.
func (s *Storage) keys(ctx context.Context) (access.Keys, error) {
	id, err := s.backend.agree(ctx)
	if err != nil {
		return access.Keys{}, err
	}
	return id.Keys()
}

// compare counts the sessions to add and the known ones, and returns those to add.
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
