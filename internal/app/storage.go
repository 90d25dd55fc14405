package app

import (
	"context"
	"fmt"
	"os"

	"berth/internal/jsonfile"
	"berth/internal/lifecycle"
	"berth/internal/postgres"
	"berth/internal/session"
)

// The two places where sessions can be, as /health and the state directory call them.
const (
	backendJSON     = "json"
	backendDatabase = "database"
)

// storage is where sessions are remembered, and who else works on them there.
type storage struct {
	store    session.Store
	identity identity
	process  string          // this process in records; empty: a name of this one run
	feed     lifecycle.Feed  // nil: nobody else changes anything
	peers    lifecycle.Peers // nil: nobody else works on it
	database *database       // nil: it is a file
	hold     *orphanHold
}

// openStorage opens what the configuration asks for.
func (a *App) openStorage(ctx context.Context, s state) (storage, error) {
	if a.cfg.Database.Use {
		return a.openDatabase(ctx, s)
	}
	if err := s.mayUseFile(); err != nil {
		return storage{}, err
	}
	store, err := a.openFile(s, storeFile)
	if err != nil {
		return storage{}, err
	}
	id, err := a.fileIdentity(ctx, s, store)
	if err != nil {
		return storage{}, err
	}
	return storage{store: store, identity: id, process: postgres.ProcessName(id.instance, randomName()), hold: holdInState(s)}, s.note(backendJSON)
}

// fileIdentity agrees with the file on whose sessions it has.
func (a *App) fileIdentity(ctx context.Context, s state, file *jsonfile.Store) (identity, error) {
	page, err := file.List(ctx, session.Query{Limit: 1})
	if err != nil {
		return identity{}, err
	}
	id, err := localIdentity(s, a.cfg, origin{instance: file.Installation(), sessions: len(page.Sessions) > 0})
	if err != nil {
		return identity{}, err
	}
	return id, file.SetInstallation(ctx, id.instance)
}

func (a *App) openFile(s state, name string) (*jsonfile.Store, error) {
	store, err := jsonfile.Open(s.path(name), jsonfile.Options{Logger: a.named("jsonfile")})
	if err != nil {
		return nil, err
	}
	a.onStop("store "+name, func(context.Context) error { return store.Close() })
	return store, nil
}

// mayUseFile refuses to begin an empty file where the sessions are in a database: their containers would be taken for
// orphans.
func (s state) mayUseFile() error {
	backend, err := s.peek(backendFile)
	if err != nil || backend != backendDatabase {
		return err
	}
	if _, err := os.Lstat(s.path(storeFile)); err == nil {
		return nil // exported by the operator
	}
	return fmt.Errorf("the sessions of %s are in the database: set USE_DATABASE_STORAGE=true, or bring them back first with "+
		"USE_DATABASE_STORAGE=true berth store export --output %s; to begin without them, remove %s",
		string(s), s.path(storeFile), s.path(backendFile))
}

// note remembers which backend has the sessions.
func (s state) note(backend string) error {
	if known, err := s.peek(backendFile); err != nil || known == backend {
		return err
	}
	return s.put(backendFile, backend)
}
