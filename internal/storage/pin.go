package storage

import (
	"context"
	"fmt"
	"os"
	"strings"

	"berth/internal/session"
	"berth/internal/storage/postgres"
)

// databasePrefix is the prefix of an owner that is a database.
const databasePrefix = "database:"

// rolledBack is the reason, until Berth is restarted, for a database that has lost acknowledged changes.
const rolledBack = "the database was rolled back to an earlier state, with its sessions and tokens; containers without a session are kept; " +
	"check them, then restart Berth"

// pin makes the store refuse every other database than the current one.
func (db *database) pin(ctx context.Context, instance string) error {
	system, err := db.Identity(ctx)
	if session.CodeOf(err) == session.CodeStoreUnavailable && db.Ping(ctx) != nil {
		return err
	}
	// Without the right to read its identity, a database is identified by the installation.
	db.Pin(postgres.Pin{System: system, Setting: sharedInstance, Value: instance})
	return nil
}

// pinRecorded is pin for an unavailable database that an earlier process has used.
func (db *database) pinRecorded(instance string) error {
	known, err := db.dir.peek(ownerFile)
	if err != nil || known == "" {
		return err
	}
	system := strings.TrimPrefix(known, databasePrefix)
	if !strings.Contains(system, "/") { // its identity could not be read
		system = ""
	}
	db.Pin(postgres.Pin{System: system, Setting: sharedInstance, Value: instance})
	return nil
}

// checkKnown fails for an empty database if an earlier process on this state directory has used one: its sessions are in
// another one. The start fails instead of continuing without a database, because the state directory may be a copy.
func (db *database) checkKnown(ctx context.Context) error {
	known, err := db.dir.peek(ownerFile)
	if err != nil || known == "" {
		return err
	}
	instance, err := db.Setting(ctx, sharedInstance)
	if err != nil || instance != "" {
		return err
	}
	return session.Errorf(session.CodeConflict, postgres.AnotherDatabase+"the address of the one that had the sessions, and it is empty: "+
		"restore that one, or a backup of it, and restart Berth; to start with an empty one, remove the file %s", db.dir.path(ownerFile))
}

// sharedOwner is the setting that identifies a database without the right to read its identity.
const sharedOwner = "owner"

// owner is the database, for all of its instances.
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
	case session.CodeOf(err) == session.CodeStoreUnavailable: // it was never reached
		owner.ID = place
		return owner, nil
	default: // its identity cannot be read
		if owner.ID, err = db.Keep(ctx, sharedOwner, databasePrefix+randomName()); err != nil {
			return session.EngineOwner{}, fmt.Errorf("identify the database: %w", err)
		}
	}
	return owner, db.dir.put(ownerFile, owner.ID)
}
