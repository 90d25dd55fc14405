package jsonfile

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"berth/internal/access"
	"berth/internal/atomicfile"
	"berth/internal/session"
	"berth/internal/storage/record"
)

// Replace replaces all sessions of the file by these, with their revisions, in one step. A session that cannot be encoded in
// JSON is a CodeInvalid error and nothing is changed.
func (s *Store) Replace(ctx context.Context, sessions []session.Session) error {
	return s.replace(ctx, sessions, false)
}

// The mark of a retired store is an additional entry. No session can have its ID, and a Berth of an older version reads it as
// a session.
const (
	retiredName  = "journal/retired"
	retiredEntry = `{"session_id":"` + retiredName + `","created_at":"1970-01-01T00:00:00Z","last_accessed":"1970-01-01T00:00:00Z","status":"stopped","revision":1}`
)

// Retire is Replace and marks the store until the next Replace: its sessions are in another store.
func (s *Store) Retire(ctx context.Context, sessions []session.Session) error {
	return s.replace(ctx, sessions, true)
}

// Retired reports whether the store is marked so.
func (s *Store) Retired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored.retired
}

func (s *Store) replace(ctx context.Context, sessions []session.Session, retired bool) error {
	return s.submit(ctx, func(d *draft) (effect, error) {
		next := make(map[session.ID]*entry, len(sessions))
		for _, v := range sessions {
			old := d.sessions[v.ID]
			if old != nil && record.Changed(&old.session, &v) == 0 {
				next[v.ID] = old
				continue
			}
			var extra map[string]json.RawMessage
			if old != nil {
				extra = old.extra
			}
			fresh, err := seal(v, extra)
			if err != nil {
				return nothing, err
			}
			next[v.ID] = fresh
		}
		d.sessions, d.retired = next, retired
		clear(d.touched) // of the replaced sessions
		return grows, nil
	})
}

// CreateFile creates the file of a store with these sessions and platform tokens, unless there is one. It is created atomically, so that [Open]
// never finds an incomplete one.
func CreateFile(path string, sessions []session.Session, tokens ...access.PlatformToken) error {
	if Exists(path) {
		return nil
	}
	data, err := Write(sessions, tokens...)
	if err != nil {
		return err
	}
	if err := atomicfile.Remove(path + activitySuffix); err != nil {
		return unavailable("create the session store "+path, err)
	}
	if err := atomicfile.Write(path, data, ownerOnly, filepath.Dir(path)); err != nil {
		return unavailable("create the session store "+path, err)
	}
	return nil
}

// Exists reports whether there is a store at path.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Remove removes a closed store. It may be called again, also after a crash in between: at no moment is there a previous
// version without its file.
func Remove(path string) error {
	for _, name := range []string{path + previousSuffix, path, path + activitySuffix, path + reserveSuffix} {
		if err := atomicfile.Remove(name); err != nil {
			return unavailable("remove the session store", err)
		}
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable("remove the session store", err)
	}
	return nil
}
