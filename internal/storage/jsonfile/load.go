package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"berth/internal/atomicfile"
	"berth/internal/session"
)

// load reads the file, or creates an empty one if there has never been one.
func (d *disk) load() (image, error) {
	info, err := os.Lstat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.create()
	case err != nil:
		return image{}, unusable("look for the session store", d.path, err)
	case !info.Mode().IsRegular():
		return image{}, session.Errorf(session.CodeStoreUnavailable, "the session store %s is not a regular file", d.path)
	}
	return d.read()
}

// read reads the existing file.
func (d *disk) read() (image, error) {
	content, err := os.ReadFile(d.path)
	if err != nil {
		return image{}, unusable("read the session store", d.path, err)
	}
	im, err := decode(content)
	if err != nil {
		return image{}, d.loadError(err.Error(), fmt.Sprintf("mv %s %s && ", quote(d.path), quote(d.path+".refused")),
			"There is no previous version; to start without sessions, move the file away")
	}
	return im, nil
}

// create writes an empty store, so that a disk that cannot be written is detected at the start.
func (d *disk) create() (image, error) {
	_, err := os.Lstat(d.previous())
	if err == nil {
		return image{}, d.missing()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return image{}, unavailable("look for the previous version of the session store", err)
	}
	if err := atomicfile.Remove(d.path + activitySuffix); err != nil { // of a store that was moved away
		return image{}, unavailable("remove the activity log of an earlier session store", err)
	}
	im := image{sessions: map[session.ID]*entry{}}
	if _, err := d.replace(im.encode()); err != nil {
		return image{}, unusable("create the session store "+d.path, d.path, err)
	}
	return im, nil
}

func (d *disk) missing() error {
	return d.loadError("is missing, but its previous version exists", "", "")
}

// loadError is the error for an unusable file, with the command that restores the previous version: first, then a copy.
// instead is the advice if there is no previous version.
func (d *disk) loadError(fault, first, instead string) error {
	advice := instead
	if _, err := os.Lstat(d.previous()); err == nil {
		advice = fmt.Sprintf("The previous version is %s; to restore it, run: %scp -p %s %s",
			d.previous(), first, quote(d.previous()), quote(d.path))
	}
	return session.Errorf(session.CodeStoreUnavailable, "the session store %s %s. Nothing was changed. %s", d.path, fault, advice)
}

// quote quotes a path for a shell.
func quote(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }
