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

// ReadOnly returns the content of a store without writing anything. A missing store is a CodeNotFound error, every other error a
// CodeStoreUnavailable one, as for [Open], also if another process uses the file.
func ReadOnly(ctx context.Context, path string) (Contents, error) {
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return Contents{}, notFound(path)
	}
	path, err := resolve(path)
	if err != nil {
		return Contents{}, err
	}
	if err := ended(ctx); err != nil {
		return Contents{}, err
	}
	lock, err := acquireShared(path + lockSuffix)
	if err != nil {
		return Contents{}, err
	}
	defer lock.release()
	d := disk{path: path}
	switch {
	case Exists(path):
	case Exists(d.previous()):
		return Contents{}, d.missing()
	default:
		return Contents{}, notFound(path)
	}
	im, err := d.read()
	if err != nil {
		return Contents{}, err
	}
	log := activityLog{path: path + activitySuffix}
	at, err := log.load(im.sessions)
	if err != nil {
		return Contents{}, unusable("read the activity log of the session store", path, err)
	}
	contents := Contents{Format: FormatBerth, Retired: im.retired, Sessions: make([]session.Session, 0, len(im.sessions))}
	for _, id := range slices.Sorted(maps.Keys(im.sessions)) {
		contents.Sessions = append(contents.Sessions, im.sessions[id].at(at[id]))
	}
	contents.PlatformTokens, err = tokensOf(im.extra)
	return contents, err
}

func notFound(path string) error {
	return session.Errorf(session.CodeNotFound, "there is no store at %s", path)
}
