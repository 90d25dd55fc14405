// Package storage opens where sessions are remembered: the state directory, and in it the file, or the database with what
// stands in for it while it is unavailable. It knows what belongs to those sessions: the installation's name, the token
// secret, the claim on the containers of the engine. It refuses to know what sessions do, and who serves them.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sync/errgroup"

	"berth/internal/config"
	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
	"berth/internal/telemetry"
)

// The two places where sessions can be, as /health and the state directory call them.
const (
	backendJSON     = "json"
	backendDatabase = "database"
)

// backend is one of the two places.
type backend interface {
	session.Store
	// agree returns what all processes on the sessions have in common, made now where nothing has ever been.
	agree(ctx context.Context) (Identity, error)
	// installation returns the name of the installation whose sessions they are; "" where it is not recorded.
	installation(ctx context.Context) (string, error)
	SetInstallation(ctx context.Context, name string) error
	// tokenSecret returns the secret that other processes have brought; "" where there is none.
	tokenSecret(ctx context.Context) (string, error)
	// hold is where it is kept which containers without a session are not removed.
	hold() *orphanHold
	// owner tells this Berth from a copy of it.
	owner(ctx context.Context, process string) (session.EngineOwner, error)
	// add adds sessions, and counts them in the report.
	add(ctx context.Context, report *ImportReport, source string, sessions []session.Session) error
}

// Storage is where sessions are remembered, and who else works on them there. Make it with [Open].
type Storage struct {
	Store    session.Store // with what stands in for it
	Identity Identity
	Process  string               // this process in records
	Feed     lifecycle.Feed       // nil: no other process changes sessions
	Peers    lifecycle.Peers      // nil: no other process works on them
	Hold     lifecycle.OrphanHold // of containers without a session

	environment
	backend  backend
	database *database // nil: it is a file
	claim    *claim    // nil: the containers are not those of an engine
	foreign  *foreignSessions
	undo     []undo // what was opened, oldest first
}

// undo closes what was opened.
type undo struct {
	name  string
	close func() error
}

// environment is what the parts of a storage are made with.
type environment struct {
	cfg     config.Config
	version string
	dir     Dir
	log     *slog.Logger
}

func (e environment) named(part string) *slog.Logger { return telemetry.Named(e.log, "berth."+part) }

// Open opens what the configuration asks for: the file of the state directory, or the database. The version is what other
// processes on the database are told.
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

// byHand opens only the backend, for work on it by hand: it agrees on nothing, and nothing stands in for the database.
func byHand(ctx context.Context, cfg config.Config, log *slog.Logger, use func(*Storage) error) (err error) {
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

// Run keeps the storage and its companions at work in a group, until ctx ends. An error says that another Berth manages the
// containers now. Only leave says good-bye to the other processes: until then operations may be going on here that they must
// not take over. peersChanged is called when one comes or goes.
func (s *Storage) Run(ctx context.Context, work *errgroup.Group, peersChanged func()) (leave func()) {
	if s.claim != nil {
		work.Go(func() error { return s.claim.engine.KeepOwned(ctx, s.claim.owner) })
		work.Go(func() error { return s.foreign.watch(ctx) })
	}
	if s.database == nil {
		return func() {}
	}
	stay, leave := context.WithCancel(context.WithoutCancel(ctx))
	work.Go(func() error { return s.database.peers.Run(stay, peersChanged) })
	if s.database.failover != nil {
		work.Go(func() error { return s.database.failover.Run(ctx) })
	}
	return leave
}

// Close closes everything, newest first, past failures. It may be called again.
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
