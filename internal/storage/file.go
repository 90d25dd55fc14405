package storage

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"berth/internal/session"
	"berth/internal/storage/jsonfile"
	"berth/internal/storage/postgres"
)

// file is the backend in the state directory.
type file struct {
	*jsonfile.Store
	environment
}

var _ backend = file{}

func (s *Storage) openFile(ctx context.Context) error {
	if err := s.dir.checkFileAllowed(); err != nil {
		return err
	}
	store, err := s.newFile(storeFile)
	if err != nil {
		return err
	}
	f := file{store, s.environment}
	if s.Identity, err = f.agree(ctx); err != nil {
		return err
	}
	if s.Usage, err = s.newUsage(); err != nil {
		return err
	}
	s.Tokens = store
	s.Store, s.backend, s.Process, s.Hold = store, f, postgres.ProcessName(s.Identity.Instance, randomName()), f.hold()
	return s.dir.note(backendJSON)
}

// agree compares the installation of the file with that of the state directory.
func (f file) agree(ctx context.Context) (Identity, error) {
	page, err := f.List(ctx, session.Query{Limit: 1})
	if err != nil {
		return Identity{}, err
	}
	id, err := f.localIdentity(origin{installation: f.Installation(), sessions: len(page.Sessions) > 0})
	if err != nil {
		return Identity{}, err
	}
	return id, f.SetInstallation(ctx, id.Instance)
}

func (f file) installation(context.Context) (string, error) { return f.Installation(), nil }

func (f file) tokenSecret(context.Context) (string, error) { return "", nil }

// owner is the directory of the file, on this boot of this machine.
func (f file) owner(_ context.Context, process string) (session.EngineOwner, error) {
	host, _ := os.Hostname() // for operators
	place, err := f.dir.place()
	return session.EngineOwner{ID: place, Process: process, Host: host}, err
}

// add writes the existing and the added sessions to the file in one step, and then the platform tokens.
func (f file) add(ctx context.Context, report *ImportReport, _ string, contents jsonfile.Contents) error {
	added, err := report.compare(ctx, f, contents.Sessions)
	if err != nil {
		return err
	}
	page, err := f.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	all := session.ByID(page.Sessions)
	maps.Copy(all, session.ByID(added))
	if err := f.Replace(ctx, slices.Collect(maps.Values(all))); err != nil {
		return err
	}
	report.PlatformTokens, err = addTokens(ctx, f, contents.PlatformTokens)
	return err
}

// checkFileAllowed returns an error if the sessions are in a database: with an empty file their containers would be orphans.
func (d Dir) checkFileAllowed() error {
	backend, err := d.peek(backendFile)
	if err != nil || backend != backendDatabase {
		return err
	}
	if _, err := os.Lstat(d.path(storeFile)); err == nil {
		return nil // exported by the operator
	}
	return fmt.Errorf("the sessions of %s are in the database: set USE_DATABASE_STORAGE=true, or export them first with "+
		"USE_DATABASE_STORAGE=true berth store export --output %s; to start without them, remove %s",
		string(d), d.path(storeFile), d.path(backendFile))
}

// note records which backend has the sessions.
func (d Dir) note(backend string) error {
	if known, err := d.peek(backendFile); err != nil || known == backend {
		return err
	}
	return d.put(backendFile, backend)
}
