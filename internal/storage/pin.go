package storage

import (
	"context"
	"fmt"
	"os"
	"strings"

	"berth/internal/session"
	"berth/internal/storage/postgres"
)

// databasePrefix begins the name of an engine's owner that is a database.
const databasePrefix = "database:"

// wentBack is what operators are told, until Berth is restarted, of a database that has lost what it had acknowledged.
const wentBack = "the database went back in time: sessions and tokens are what they were then, and containers without a session are kept; " +
	"check them, then restart Berth"

// pin makes the store refuse every database but the one that it is on, which has agreed on the installation.
func (db *database) pin(ctx context.Context, instance string) error {
	system, err := db.Identity(ctx)
	if session.CodeOf(err) == session.CodeStoreUnavailable && db.Ping(ctx) != nil {
		return err
	}
	// A database that does not tell its users what it is, is known by what is in it.
	db.Pin(postgres.Pin{System: system, Setting: sharedInstance, Value: instance})
	return nil
}

// pinKnown is pin for a database that is unavailable, when an earlier process has worked with it.
func (db *database) pinKnown(instance string) error {
	known, err := db.dir.peek(ownerFile)
	if err != nil || known == "" {
		return err
	}
	system := strings.TrimPrefix(known, databasePrefix)
	if !strings.Contains(system, "/") { // it did not tell
		system = ""
	}
	db.Pin(postgres.Pin{System: system, Setting: sharedInstance, Value: instance})
	return nil
}

// isKnown fails for a database that is empty where an earlier process on this state directory has worked with one: its
// sessions are somewhere else. It is no reason to go on without a database: the state directory may be a copy, which the
// engine tells by the database that it has.
func (db *database) isKnown(ctx context.Context) error {
	known, err := db.dir.peek(ownerFile)
	if err != nil || known == "" {
		return err
	}
	instance, err := db.Setting(ctx, sharedInstance)
	if err != nil || instance != "" {
		return err
	}
	return session.Errorf(session.CodeConflict, postgres.AnotherDatabase+"the address of the one that had the sessions, and it is empty: "+
		"bring that one back, or restore a backup of it and restart Berth; to begin with an empty one, remove the file %s", db.dir.path(ownerFile))
}

// sharedOwner is the setting of a database that does not tell its users what it is.
const sharedOwner = "owner"

// owner is the database, whatever instances there are.
func (db *database) owner(ctx context.Context, _ string) (session.EngineOwner, error) {
	host, _ := os.Hostname() // for operators
	place, err := db.dir.place()
	if err != nil {
		return session.EngineOwner{}, err
	}
	owner := session.EngineOwner{Former: []string{place}, Host: host}
	known, err := db.dir.peek(ownerFile)
	if err != nil {
		return session.EngineOwner{}, err
	}
	id, err := db.Identity(ctx)
	switch {
	case err == nil:
		owner.ID = databasePrefix + id
	case known != "": // it is unavailable
		owner.ID = known
	case session.CodeOf(err) == session.CodeStoreUnavailable: // and was never reached
		owner.ID = place
		return owner, nil
	default: // it does not tell its users what it is
		if owner.ID, err = db.Keep(ctx, sharedOwner, databasePrefix+randomName()); err != nil {
			return session.EngineOwner{}, fmt.Errorf("find out which database this is: %w", err)
		}
	}
	return owner, db.dir.put(ownerFile, owner.ID)
}
