// Package fileowner gives files to the owner of their directory. Berth runs as a user of its own, and operators repair it as
// root: what root writes there must stay readable for that user.
package fileowner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Give gives an open file that root writes to the owner and the group of what is at the path like. Without root's rights it
// does nothing: others cannot give files away, and write only what is their own. A file with a second name is refused,
// because that name may be in another user's directory.
func Give(f *os.File, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	wanted, err := os.Stat(like)
	if err != nil {
		return err
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	to, is := statOf(wanted), statOf(now)
	if to == nil || is == nil || to.Uid == is.Uid && to.Gid == is.Gid {
		return nil
	}
	if now.Mode().IsRegular() && is.Nlink > 1 {
		return fmt.Errorf("%s has a second name, so that it cannot be given to the owner of %s; remove it", f.Name(), like)
	}
	return f.Chown(int(to.Uid), int(to.Gid))
}

// GivePath does the same for the file or directory at a path, which must not be a symbolic link.
func GivePath(path, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return Give(f, like)
}

// Remedy says in one sentence what to do about an error of a file that this process may not use; "" for any other error.
// The directory's owner is who the file should belong to.
func Remedy(err error, path string) string {
	if !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	dir := filepath.Dir(path)
	info, statErr := os.Stat(dir)
	if statErr != nil {
		return ""
	}
	owner := statOf(info)
	if owner == nil {
		return ""
	}
	name := nameOf(owner.Uid)
	if int(owner.Uid) != os.Geteuid() {
		return fmt.Sprintf("%s belongs to the user %s: run this as that user or as root, or, if Berth runs as %s, run chown -R %s %s as root",
			dir, name, nameOf(uint32(os.Geteuid())), nameOf(uint32(os.Geteuid())), dir)
	}
	return fmt.Sprintf("the files of %s must belong to the user that Berth runs as: run chown -R %s %s as root", dir, name, dir)
}

func nameOf(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}

func statOf(info fs.FileInfo) *syscall.Stat_t {
	stat, _ := info.Sys().(*syscall.Stat_t)
	return stat
}
