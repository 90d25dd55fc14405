package app

import (
	"context"
	"strings"

	"berth/internal/postgres"
	"berth/internal/session"
)

// databasePrefix begins the name of an engine's owner that is a database.
const databasePrefix = "database:"

// wentBack is what operators are told, until Berth is restarted, of a database that has lost what it had acknowledged.
const wentBack = "the database went back in time: sessions and tokens are what they were then, and containers without a session are kept; " +
	"check them, then restart Berth"

// pin makes the store refuse every database but the one that it is on, which has agreed on the installation.
func (db *database) pin(ctx context.Context, instance string) error {
	system, err := db.store.Identity(ctx)
	if session.CodeOf(err) == session.CodeStoreUnavailable && db.store.Ping(ctx) != nil {
		return err
	}
	// A database that does not tell its users what it is, is known by what is in it.
	db.store.Pin(postgres.Pin{System: system, Setting: sharedInstance, Value: instance})
	return nil
}

// pinKnown is pin for a database that is away, when an earlier process has worked with it.
func (db *database) pinKnown(s state, instance string) error {
	known, err := s.peek(ownerFile)
	if err != nil || known == "" {
		return err
	}
	system := strings.TrimPrefix(known, databasePrefix)
	if !strings.Contains(system, "/") { // it did not tell
		system = ""
	}
	db.store.Pin(postgres.Pin{System: system, Setting: sharedInstance, Value: instance})
	return nil
}

// isKnown fails for a database that is empty where an earlier process on this state directory has worked with one: its
// sessions are somewhere else. It is no reason to go on without a database: the state directory may be a copy, which the
// engine tells by the database that it has.
func (db *database) isKnown(ctx context.Context, s state) error {
	known, err := s.peek(ownerFile)
	if err != nil || known == "" {
		return err
	}
	instance, err := db.store.Setting(ctx, sharedInstance)
	if err != nil || instance != "" {
		return err
	}
	return session.Errorf(session.CodeConflict, postgres.AnotherDatabase+"the address of the one that had the sessions, and it is empty: "+
		"bring that one back, or restore a backup of it and restart Berth; to begin with an empty one, remove the file %s", s.path(ownerFile))
}
