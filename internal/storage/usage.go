package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"berth/internal/atomicfile"
	"berth/internal/storage/jsonfile"
	"berth/internal/usage"
)

// newUsage opens the usage in the state directory.
func (s *Storage) newUsage() (*jsonfile.Usage, error) {
	store, err := jsonfile.OpenUsage(s.dir.path(usageDir), jsonfile.UsageOptions{Logger: s.named("usage")})
	if err != nil {
		return nil, err
	}
	s.onClose("usage", store.Close)
	return store, nil
}

// moveUsage moves the usage of the state directory into the database. It may be killed at any moment and repeated: an import keeps
// the greater numbers. The files are kept in a dated directory.
func (db *database) moveUsage(ctx context.Context) error {
	path := db.dir.path(usageDir)
	if !jsonfile.Exists(path) {
		return nil
	}
	file, err := jsonfile.OpenUsage(path, jsonfile.UsageOptions{Logger: db.named("usage")})
	if err != nil {
		return fileError{err}
	}
	records, err := file.Records(ctx)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fileError{err}
	}
	moved, err := db.usage.Import(ctx, records)
	if err != nil {
		return err
	}
	backup := path + ".migrated-" + stamp()
	if err := os.Rename(path, backup); err != nil {
		return fileError{err}
	}
	if err := atomicfile.SyncDir(string(db.dir)); err != nil {
		return fileError{err}
	}
	db.log.InfoContext(ctx, "usage moved into the database", "records", len(records), "added", moved, "backup", backup)
	return nil
}

// usageJournal is a file of the state directory.
type usageJournal struct{ dir Dir }

var _ usage.Journal = usageJournal{}

// Load implements [usage.Journal].
func (j usageJournal) Load() (all []usage.Settlement, err error) {
	path := j.dir.path(usagePendingFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s; move it away, and its calls are counted by their estimate: %w", path, err)
	}
	return all, nil
}

// Save implements [usage.Journal].
func (j usageJournal) Save(all []usage.Settlement) error {
	path := j.dir.path(usagePendingFile)
	if len(all) == 0 {
		return atomicfile.Remove(path)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(text, '\n'), ownerOnly, string(j.dir))
}
