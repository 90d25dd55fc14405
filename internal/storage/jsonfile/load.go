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

// load reads the file, or makes an empty one where none has ever been.
func (d *disk) load() (image, error) {
	info, err := os.Lstat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.begin()
	case err != nil:
		return image{}, unusable("look for the session store", d.path, err)
	case !info.Mode().IsRegular():
		return image{}, session.Errorf(session.CodeStoreUnavailable, "the session store %s is not a regular file", d.path)
	}
	return d.read()
}

// read reads the file, which is there.
func (d *disk) read() (image, error) {
	content, err := os.ReadFile(d.path)
	if err != nil {
		return image{}, unusable("read the session store", d.path, err)
	}
	im, err := decode(content)
	if err != nil {
		return image{}, d.refuse(err.Error(), fmt.Sprintf("mv %s %s && ", quote(d.path), quote(d.path+".refused")),
			"There is no previous version; to begin with no sessions, move the file away")
	}
	return im, nil
}

// begin writes the empty store: a disk that cannot be written is found out at the start.
func (d *disk) begin() (image, error) {
	_, err := os.Lstat(d.previous())
	if err == nil {
		return image{}, d.missing()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return image{}, unavailable("look for the previous version of the session store", err)
	}
	if err := atomicfile.Remove(d.path + activitySuffix); err != nil { // of a store that was moved away
		return image{}, unavailable("remove the activity log of a session store that is no more", err)
	}
	im := image{sessions: map[session.ID]*entry{}}
	if _, err := d.replace(im.encode()); err != nil {
		return image{}, unusable("begin the session store "+d.path, d.path, err)
	}
	return im, nil
}

func (d *disk) missing() error {
	return d.refuse("is missing, but its previous version is there", "", "")
}

// refuse says what is wrong with the file and how to go back to the version before: first, then a copy. instead is
// the advice where there is none.
func (d *disk) refuse(fault, first, instead string) error {
	advice := instead
	if _, err := os.Lstat(d.previous()); err == nil {
		advice = fmt.Sprintf("The version before it is %s; to go back to it, run: %scp -p %s %s",
			d.previous(), first, quote(d.previous()), quote(d.path))
	}
	return session.Errorf(session.CodeStoreUnavailable, "the session store %s %s. Nothing was changed. %s", d.path, fault, advice)
}

// quote writes a path as one word of a shell.
func quote(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }
