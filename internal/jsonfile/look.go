package jsonfile

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"berth/internal/session"
)

// Look returns the sessions of a store without writing anything, in the order of their IDs. A store that is not there is a
// CodeNotFound error, every other error a CodeStoreUnavailable one: as for [Open], also where another process uses the file.
func Look(ctx context.Context, path string) ([]session.Session, error) {
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil, noStore(path)
	}
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if err := ended(ctx); err != nil {
		return nil, err
	}
	release, err := share(path + lockSuffix)
	if err != nil {
		return nil, err
	}
	defer release()
	d := disk{path: path}
	if !Exists(path) && !Exists(d.previous()) {
		return nil, noStore(path)
	}
	if !Exists(path) {
		return nil, d.refuse("is missing, but its previous version is there", "", "")
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

func noStore(path string) error {
	return session.Errorf(session.CodeNotFound, "there is no store at %s", path)
}

// share keeps writers out while others may read as well. Where no lock file is, nobody has ever written.
func share(path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, unusable("open the lock of the session store", path, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = inUse(strings.TrimSuffix(path, lockSuffix), file)
	} else if err != nil {
		err = unavailable("lock "+path, err)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() {
		_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) // a child that is being started has the file too for a moment
		_ = file.Close()
	}, nil
}
