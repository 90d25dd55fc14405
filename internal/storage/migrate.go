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

// migrate moves the sessions of the state directory's file into the database. It is one transaction that also records the
// digest of the file, so that it may be killed at any moment and repeated. The file is kept as a dated backup.
func (db *database) migrate(ctx context.Context, keys access.Keys) error {
	file, err := jsonfile.LockFile(db.dir.path(storeFile))
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
	aside, err := writeRejected(db.dir.path(storeFile), contents.Rejected)
	if err != nil {
		return fileError{err}
	}
	moved, err := db.Import(ctx, sourceOf(file.Data), contents.Sessions)
	if err != nil {
		return err
	}
	tokens, err := addTokens(ctx, db, contents.PlatformTokens)
	if err != nil {
		return err
	}
	backup, err := file.Retire("migrated-" + stamp())
	if err != nil {
		return fileError{err}
	}
	db.log.InfoContext(ctx, "sessions moved into the database", "platform_tokens", tokens, "total", moved.Total, "added", moved.Added, "known", moved.Known,
		"rejected", len(contents.Rejected), "backup", backup)
	for _, r := range contents.Rejected {
		db.log.ErrorContext(ctx, "rejected an unreadable entry, which is kept in a file", "entry", r.Name, "reason", r.Reason, "file", aside)
	}
	return nil
}

// journalFile moves the file's sessions into the journal, when the database cannot be reached at the first start with one.
func (db *database) journalFile(ctx context.Context, keys access.Keys) error {
	if db.dir.knowsDatabase() {
		return nil // the database was reached before: its sessions are known, and the file is migrated at the next start with it
	}
	file, err := jsonfile.LockFile(db.dir.path(storeFile))
	if err != nil {
		return err
	}
	if file == nil {
		return session.Errorf(session.CodeStoreUnavailable,
			"the database cannot be reached, and this state directory has no copy of its sessions; see the log")
	}
	defer file.Release()
	contents, err := readSessions(file.Data, keys, db.cfg.Token.Expiry())
	if err != nil {
		return err
	}
	if _, err := writeRejected(db.dir.path(storeFile), contents.Rejected); err != nil {
		return err
	}
	if err := db.dir.keepWaiting(contents.PlatformTokens); err != nil {
		return err
	}
	if err := jsonfile.CreateFile(db.dir.path(pendingFile), contents.Sessions); err != nil {
		return err
	}
	backup, err := file.Retire("migrated-" + stamp())
	if err != nil {
		return err
	}
	db.log.InfoContext(ctx, "continuing with the sessions of the file; they are moved into the database when it can be reached",
		"sessions", len(contents.Sessions), "rejected", len(contents.Rejected), "backup", backup)
	return nil
}

// readSessions reads a file of either format. Tokens of the legacy service expire as if they were issued now, because it
// recorded no expiry.
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

// writeRejected writes unreadable entries to a file beside their source, for the operator to correct and import. It returns
// the file's path, "" if there are none.
func writeRejected(path string, rejected []jsonfile.Rejected) (string, error) {
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
		return "", fmt.Errorf("keep unreadable entries: %w", err)
	}
	aside := path + ".rejected-" + stamp()
	if err := atomicfile.Write(aside, append(text, '\n'), ownerOnly, filepath.Dir(aside)); err != nil {
		return "", fmt.Errorf("keep unreadable entries: %w", err)
	}
	return aside, nil
}

const ownerOnly os.FileMode = 0o600

// sourceOf identifies a file by its content.
func sourceOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// stamp dates a backup.
func stamp() string { return time.Now().UTC().Format("20060102T150405.000Z") }
