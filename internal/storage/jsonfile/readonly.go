package jsonfile

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"berth/internal/session"
)

// ReadSessions returns the sessions of a store without writing anything, in the order of their IDs. A missing store is a
// CodeNotFound error, every other error a CodeStoreUnavailable one, as for [Open], also if another process uses the file.
func ReadSessions(ctx context.Context, path string) ([]session.Session, error) {
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(path)
	}
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if err := ended(ctx); err != nil {
		return nil, err
	}
	lock, err := acquireShared(path + lockSuffix)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	d := disk{path: path}
	switch {
	case Exists(path):
	case Exists(d.previous()):
		return nil, d.missing()
	default:
		return nil, notFound(path)
	}
	im, err := d.read()
	if err != nil {
		return nil, err
	}
	log := activityLog{path: path + activitySuffix}
	at, err := log.load(im.sessions)
	if err != nil {
		return nil, unusable("read the activity log of the session store", path, err)
	}
	all := make([]session.Session, 0, len(im.sessions))
	for _, id := range slices.Sorted(maps.Keys(im.sessions)) {
		all = append(all, im.sessions[id].at(at[id]))
	}
	return all, nil
}

func notFound(path string) error {
	return session.Errorf(session.CodeNotFound, "there is no store at %s", path)
}
