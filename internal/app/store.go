package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"berth/internal/config"
	"berth/internal/jsonfile"
	"berth/internal/postgres"
	"berth/internal/session"
)

// StoreStatus says where sessions are and how many there are.
type StoreStatus struct {
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

// opened is an App of which only the storage is open, for work on the store by hand.
func opened(ctx context.Context, cfg config.Config, log *slog.Logger, use func(*App, state, handStore) error) (err error) {
	a := &App{cfg: cfg, log: log, begun: time.Now().UTC()}
	defer func() {
		if closing := a.closeAll(context.WithoutCancel(ctx)); err == nil {
			err = closing
		}
	}()
	s, err := openState(cfg.Server.StateDir)
	if err != nil {
		return err
	}
	if !cfg.Database.Use {
		file, err := a.openFile(s, storeFile)
		if err != nil {
			return err
		}
		return use(a, s, handStore{store: file, file: file})
	}
	db, _, err := a.newPostgres(s)
	if err != nil {
		return err
	}
	a.onStop("database", func(context.Context) error { db.Close(); return nil })
	if err := db.Prepare(ctx); err != nil {
		return err
	}
	return use(a, s, handStore{store: db, database: db})
}

// handStore is the store that work by hand is done on: one of the two is there.
type handStore struct {
	store    session.Store
	file     *jsonfile.Store
	database *postgres.Store
}

// InspectStore looks at the store that the configuration names. The file of a Berth that serves is in use, which is a
// CodeStoreUnavailable error; a database is not.
func InspectStore(ctx context.Context, cfg config.Config, log *slog.Logger) (StoreStatus, error) {
	status := StoreStatus{Backend: backendJSON, Sessions: map[session.Status]int{}}
	count := func(all []session.Session) {
		for _, v := range all {
			status.Sessions[v.Status]++
			if v.Occupies() {
				status.Active++
			}
		}
	}
	if !cfg.Database.Use {
		status.File = state(cfg.Server.StateDir).path(storeFile)
		all, err := lookAtFile(ctx, cfg)
		count(all)
		return status, err
	}
	err := opened(ctx, cfg, log, func(_ *App, s state, h handStore) error {
		page, err := h.store.List(ctx, session.Query{})
		if err != nil {
			return err
		}
		count(page.Sessions)
		status.Backend = backendDatabase
		stats, err := h.database.Stats(ctx)
		if err != nil {
			return err
		}
		imports, err := h.database.Imports(ctx)
		if err != nil {
			return err
		}
		status.Database = &DatabaseStatus{Size: stats.Size, SchemaVersion: stats.SchemaVersion, Imports: imports}
		status.Pending, err = pendingSessions(s)
		return err
	})
	return status, err
}

// lookAtFile returns the sessions of the file in the state directory, and writes nothing.
func lookAtFile(ctx context.Context, cfg config.Config) ([]session.Session, error) {
	if err := privateDir(cfg.Server.StateDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return jsonfile.Look(ctx, state(cfg.Server.StateDir).path(storeFile))
}

// pendingSessions counts what the journal holds.
func pendingSessions(s state) (int, error) {
	data, err := os.ReadFile(s.path(pendingFile)) // whole at any time, also while a Berth that serves writes it
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

// ExportSessions returns every session in the form of the session file, and how many there are.
func ExportSessions(ctx context.Context, cfg config.Config, log *slog.Logger) (data []byte, count int, err error) {
	if !cfg.Database.Use {
		all, err := lookAtFile(ctx, cfg)
		if err == nil {
			data, err = jsonfile.Write(all)
		}
		return data, len(all), err
	}
	err = opened(ctx, cfg, log, func(_ *App, _ state, h handStore) error {
		page, err := h.store.List(ctx, session.Query{})
		if err != nil {
			return err
		}
		count = len(page.Sessions)
		data, err = jsonfile.Write(page.Sessions)
		return err
	})
	return data, count, err
}

// ImportSessions adds a file's sessions to the store, those excepted that it has in the same or a newer version. What
// cannot be read is kept aside in the state directory. With dryRun it only says what would happen.
func ImportSessions(ctx context.Context, cfg config.Config, data []byte, dryRun bool, log *slog.Logger) (ImportReport, error) {
	var report ImportReport
	err := opened(ctx, cfg, log, func(a *App, s state, h handStore) error {
		keys, err := a.keysOf(ctx, s, h)
		if err != nil {
			return err
		}
		contents, err := readSessions(data, keys, cfg.Token.Expiry())
		if err != nil {
			return session.Errorf(session.CodeInvalid, "the file cannot be imported: %s", err)
		}
		report = ImportReport{Format: contents.Format, Total: len(contents.Sessions), Rejected: contents.Rejected}
		if dryRun {
			return report.compare(ctx, h.store, contents.Sessions)
		}
		if report.RejectedFile, err = keepAside(s.path("import"), contents.Rejected); err != nil {
			return err
		}
		if h.database != nil {
			done, err := h.database.Import(ctx, sourceOf(data), contents.Sessions)
			report.Added, report.Known, report.Repeated = done.Added, done.Known, done.Repeated
			return err
		}
		return report.intoFile(ctx, h.file, contents.Sessions)
	})
	return report, err
}

// keysOf returns what tokens in clear text are digested with.
func (a *App) keysOf(ctx context.Context, s state, h handStore) (session.Keys, error) {
	var own identity
	var err error
	if h.database == nil {
		own, err = a.fileIdentity(ctx, s, h.file)
	} else {
		own, err = (&database{store: h.database}).agree(ctx, a, s)
	}
	if err != nil {
		return session.Keys{}, err
	}
	return own.keys()
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

// intoFile writes the sessions of both into the file at once.
func (r *ImportReport) intoFile(ctx context.Context, file *jsonfile.Store, sessions []session.Session) error {
	if err := r.compare(ctx, file, sessions); err != nil {
		return err
	}
	page, err := file.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	all := make(map[session.ID]session.Session, len(page.Sessions)+len(sessions))
	for _, v := range page.Sessions {
		all[v.ID] = v
	}
	for _, v := range sessions {
		if old, ok := all[v.ID]; !ok || old.Revision < v.Revision {
			all[v.ID] = v
		}
	}
	merged := make([]session.Session, 0, len(all))
	for _, v := range all {
		merged = append(merged, v)
	}
	return file.Replace(ctx, merged)
}
