package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"berth/internal/access"
	"berth/internal/atomicfile"
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
)

// migrate moves the sessions of the state directory's file into the database. All of them arrive in one transaction
// that remembers the file by its digest, so that it may be killed at any moment and tried again. The file stays as a
// dated backup.
func (db *database) migrate(ctx context.Context, keys access.Keys) error {
	file, err := jsonfile.Seize(db.dir.path(storeFile))
	if err != nil {
		return fileError{err}
	}
	if file == nil {
		return nil
	}
	defer file.Release()
	contents, err := readSessions(file.Data, keys, db.cfg.Token.Expiry())
	if err != nil {
		return fileError{fmt.Errorf("move the sessions of %s into the database: %w", db.dir.path(storeFile), err)}
	}
	db.log.InfoContext(ctx, "moving sessions from the file into the database", "file", db.dir.path(storeFile), "sessions", len(contents.Sessions))
	aside, err := keepAside(db.dir.path(storeFile), contents.Rejected)
	if err != nil {
		return fileError{err}
	}
	moved, err := db.Import(ctx, sourceOf(file.Data), contents.Sessions)
	if err != nil {
		return err
	}
	backup, err := file.Retire("migrated-" + stamp())
	if err != nil {
		return fileError{err}
	}
	db.log.InfoContext(ctx, "sessions moved into the database", "total", moved.Total, "added", moved.Added, "known", moved.Known,
		"rejected", len(contents.Rejected), "backup", backup)
	for _, r := range contents.Rejected {
		db.log.ErrorContext(ctx, "entry could not be read and was kept aside", "entry", r.Name, "reason", r.Reason, "file", aside)
	}
	return nil
}

// journalFile makes the file's sessions changes that the database does not have yet, when it cannot be reached at the very
// first start with one.
func (db *database) journalFile(ctx context.Context, keys access.Keys) error {
	if db.dir.knowsDatabase() {
		return nil // the database was reached before: its sessions are known, and the file moves at the next start with it
	}
	file, err := jsonfile.Seize(db.dir.path(storeFile))
	if err != nil {
		return err
	}
	if file == nil {
		return session.Errorf(session.CodeStoreUnavailable,
			"the database cannot be reached, and this state directory has never seen it: there is nothing to go on with; see the log")
	}
	defer file.Release()
	contents, err := readSessions(file.Data, keys, db.cfg.Token.Expiry())
	if err != nil {
		return err
	}
	if _, err := keepAside(db.dir.path(storeFile), contents.Rejected); err != nil {
		return err
	}
	if err := jsonfile.Begin(db.dir.path(pendingFile), contents.Sessions); err != nil {
		return err
	}
	backup, err := file.Retire("migrated-" + stamp())
	if err != nil {
		return err
	}
	db.log.InfoContext(ctx, "going on with the sessions of the file; they move into the database when it can be reached",
		"sessions", len(contents.Sessions), "rejected", len(contents.Rejected), "backup", backup)
	return nil
}

// readSessions reads a file of either format. Tokens of the earlier service expire as if they were issued now, because
// it recorded no expiry.
func readSessions(data []byte, keys access.Keys, life time.Duration) (jsonfile.Contents, error) {
	contents, err := jsonfile.Read(data, func(token string) string { return keys.Digest(session.Secret(token)) })
	if err != nil || contents.Format != jsonfile.FormatLegacy {
		return contents, err
	}
	expiry := time.Now().UTC().Truncate(time.Microsecond).Add(life)
	for i := range contents.Sessions {
		contents.Sessions[i].Token.ExpiresAt = expiry
	}
	return contents, nil
}

// keepAside writes what could not be read beside the file that it came from, for the operator to mend and import. It
// returns where, "" when there is nothing to keep.
func keepAside(path string, rejected []jsonfile.Rejected) (string, error) {
	if len(rejected) == 0 {
		return "", nil
	}
	type entry struct {
		Name   string          `json:"name"`
		Reason string          `json:"reason"`
		Entry  json.RawMessage `json:"entry"`
	}
	all := make([]entry, len(rejected))
	for i, r := range rejected {
		all[i] = entry{r.Name, r.Reason, r.Raw}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return "", fmt.Errorf("keep entries aside that could not be read: %w", err)
	}
	aside := path + ".rejected-" + stamp()
	if err := atomicfile.Write(aside, append(text, '\n'), ownerOnly, filepath.Dir(aside)); err != nil {
		return "", fmt.Errorf("keep entries aside that could not be read: %w", err)
	}
	return aside, nil
}

const ownerOnly os.FileMode = 0o600

// sourceOf names a file by what is in it.
func sourceOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// stamp dates a backup.
func stamp() string { return time.Now().UTC().Format("20060102T150405.000Z") }
