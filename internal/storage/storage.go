// Package storage opens the session store: the file of the state directory, or the database with its fallback while it is
// unavailable. It also keeps what belongs to the sessions: the installation's name, the token secret, and the claim on the
// containers of the engine. It does not know what sessions do, and who serves them.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sync/errgroup"

	"berth/internal/access"
	"berth/internal/config"
	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
	"berth/internal/telemetry"
	"berth/internal/usage"
)

// The names of the two backends, in /health and in the state directory.
const (
	backendJSON     = "json"
	backendDatabase = "database"
)

// backend is one of the two backends.
type backend interface {
	session.Store
	access.TokenStore
	// agree returns the identity that all processes on these sessions share. It creates one for a new installation.
	agree(ctx context.Context) (Identity, error)
	// installation returns the name of the installation that the sessions belong to; "" if it is not recorded.
	installation(ctx context.Context) (string, error)
	SetInstallation(ctx context.Context, name string) error
	// tokenSecret returns the shared token secret; "" if there is none.
	tokenSecret(ctx context.Context) (string, error)
	// hold says which containers without a session are kept.
	hold() *orphanHold
	// owner identifies this Berth, and differs for a copy of its state.
	owner(ctx context.Context, process string) (session.EngineOwner, error)
	// add adds sessions and platform tokens, and counts them in the report.
	add(ctx context.Context, report *ImportReport, source string, contents jsonfile.Contents) error
}

// Storage is the session store with the other processes that use it. Make it with [Open].
type Storage struct {
	Store    session.Store // with its fallback
	Identity Identity
	Process  string               // this process in records
	Tokens   access.TokenStore    // platform tokens
	Feed     lifecycle.Feed       // nil: no other process changes sessions
	Peers    lifecycle.Peers      // nil: no other process works on them
	Hold     lifecycle.OrphanHold // of containers without a session
	Usage    usage.Store          // what sessions use of models; there is no fallback while a database is unavailable

	// UsageJournal keeps what the database does not take; nil: the store is a file, which needs none.
	UsageJournal usage.Journal

	// TokensChanged holds a value when another process may have changed the platform tokens; nil: no other process does.
	TokensChanged <-chan struct{}

	environment
	backend  backend
	database *database // nil: it is a file
	claim    *claim    // nil: there is no engine
	foreign  *foreignSessions
	undo     []undo // what was opened, oldest first
}

// undo closes what was opened.
type undo struct {
	name  string
	close func() error
}

// environment is the common dependencies of the parts of a storage.
type environment struct {
	cfg     config.Config
	version string
	dir     Dir
	log     *slog.Logger
}

func (e environment) named(part string) *slog.Logger { return telemetry.Named(e.log, "berth."+part) }

// Open opens the configured backend: the file of the state directory, or the database. The version is published to the other
// processes on the database.
func Open(ctx context.Context, cfg config.Config, dir Dir, version string, log *slog.Logger) (*Storage, error) {
	s := &Storage{environment: environment{cfg: cfg, version: version, dir: dir, log: log}}
	open := s.openFile
	if cfg.Database.Use {
		open = s.openDatabase
	}
	if err := open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// withBackend opens the backend for a command of the operator: without an identity and without a fallback for the database.
func withBackend(ctx context.Context, cfg config.Config, log *slog.Logger, use func(*Storage) error) (err error) {
	dir, err := OpenDir(cfg.Server.StateDir)
	if err != nil {
		return err
	}
	s := &Storage{environment: environment{cfg: cfg, dir: dir, log: log}}
	defer func() {
		if closing := s.Close(); err == nil {
			err = closing
		}
	}()
	if !cfg.Database.Use {
		f, err := s.newFile(storeFile)
		if err != nil {
			return err
		}
		s.backend = file{f, s.environment}
		return use(s)
	}
	db, _, err := s.newDatabase()
	if err != nil {
		return err
	}
	if err := db.Prepare(ctx); err != nil {
		return err
	}
	s.backend, s.database = db, db
	return use(s)
}

// Run runs the background work of the storage in a group, until ctx is done. It fails when another Berth has taken over the
// containers. leave deregisters this process: until then operations may be in progress here that other processes must not
// take over. peersChanged is called when another process starts or stops.
func (s *Storage) Run(ctx context.Context, work *errgroup.Group, peersChanged func()) (leave func()) {
	if s.claim != nil {
		work.Go(func() error { return s.claim.engine.KeepOwned(ctx, s.claim.owner) })
		work.Go(func() error { return s.foreign.watch(ctx) })
	}
	if s.database == nil {
		return func() {}
	}
	registered, leave := context.WithCancel(context.WithoutCancel(ctx))
	work.Go(func() error { return s.database.peers.Run(registered, peersChanged) })
	if s.database.failover != nil {
		work.Go(func() error { return s.database.failover.Run(ctx) })
	}
	return leave
}

// Close closes everything, newest first, and continues past failures. It may be called again.
func (s *Storage) Close() error {
	var faults []error
	for _, u := range slices.Backward(s.undo) {
		if err := u.close(); err != nil {
			faults = append(faults, fmt.Errorf("close %s: %w", u.name, err))
		}
	}
	s.undo = nil
	return errors.Join(faults...)
}

func (s *Storage) onClose(name string, closeIt func() error) {
	s.undo = append(s.undo, undo{name, closeIt})
}

func (s *Storage) newFile(name string) (*jsonfile.Store, error) {
	store, err := jsonfile.Open(s.dir.path(name), jsonfile.Options{Logger: s.named("jsonfile")})
	if err != nil {
		return nil, err
	}
	s.onClose("store "+name, store.Close)
	return store, nil
}
