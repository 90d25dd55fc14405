package dockerd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"berth/internal/atomicfile"
)

// record is one file or directory as it was.
type record struct {
	Path   string      `json:"path"`
	Absent bool        `json:"absent,omitempty"`
	Dir    bool        `json:"dir,omitempty"`
	Mode   fs.FileMode `json:"mode,omitempty"`
	UID    int         `json:"uid"`
	GID    int         `json:"gid"`
	SHA256 string      `json:"sha256,omitempty"` // of a file's content, hexadecimal
	Backup string      `json:"backup,omitempty"` // where that content is kept
}

// holds reports whether a path is among the records.
func holds(records []record, path string) bool {
	return slices.ContainsFunc(records, func(r record) bool { return r.Path == path })
}

// look records how a path is now. What is neither a file nor a directory is refused: replacing a link, for
// example, would change another file than the path names.
func look(path string) (record, []byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{Path: path, Absent: true}, nil, nil
	}
	if err != nil {
		return record{}, nil, err
	}
	uid, gid := ownerOf(info)
	r := record{Path: path, Dir: info.IsDir(), Mode: info.Mode() & (fs.ModePerm | fs.ModeSetgid | fs.ModeSticky), UID: uid, GID: gid}
	switch {
	case info.IsDir():
		return r, nil, nil
	case !info.Mode().IsRegular():
		return record{}, nil, refuse("put the file itself there", "%s is a link or a special file, which a set-up does not replace", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return record{}, nil, err
	}
	r.SHA256 = digest(data)
	return r, data, nil
}

// ownerOf is the user and the group that own a file.
func ownerOf(info fs.FileInfo) (uid, gid int) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid), int(stat.Gid)
	}
	return 0, 0
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// putBack makes a path what its record says.
func (r record) putBack() error {
	switch {
	case r.Absent:
		err := os.Remove(r.Path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if entries, readErr := os.ReadDir(r.Path); readErr == nil && len(entries) > 0 {
			return nil // a directory of ours that holds files of others
		}
		return err
	case r.Dir:
		return os.Chmod(r.Path, r.Mode)
	}
	if now, _, err := look(r.Path); err == nil && now == r.without() {
		return nil
	}
	data, err := os.ReadFile(r.Backup)
	if err != nil {
		return err
	}
	if digest(data) != r.SHA256 {
		return fmt.Errorf("the backup %s is not what was saved", r.Backup)
	}
	if err := atomicfile.Write(r.Path, data, r.Mode, ""); err != nil {
		return err
	}
	return os.Chown(r.Path, r.UID, r.GID)
}

// without is the record as look makes it.
func (r record) without() record {
	r.Backup = ""
	return r
}

func removeBackups(records []record) error {
	var faults []error
	for _, r := range records {
		if r.Backup != "" {
			faults = append(faults, atomicfile.Remove(r.Backup))
		}
	}
	return errors.Join(faults...)
}

// removeEmpty removes directories that were not there and that only the journal or a backup kept until now.
func removeEmpty(records []record) error {
	var faults []error
	for _, r := range slices.Backward(records) {
		if info, err := os.Lstat(r.Path); r.Absent && err == nil && info.IsDir() {
			faults = append(faults, r.putBack())
		}
	}
	return errors.Join(faults...)
}
