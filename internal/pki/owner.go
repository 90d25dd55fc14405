package pki

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// giveTo gives a file that root has just written to whoever owns what it will replace or, if that is not there, the
// directory that it will stand in: a renewal must not take a key from the user who reads it. Others cannot give files
// away, and write only what is their own.
func giveTo(file, replaced, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Lstat(replaced)
	if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
		if info, err = os.Lstat(dir); err != nil {
			return fmt.Errorf("stage certificates: %w", err)
		}
	}
	uid, gid := ownerOf(info)
	now, err := os.Lstat(file)
	if err != nil {
		return fmt.Errorf("stage certificates: %w", err)
	}
	if u, g := ownerOf(now); u == uid && g == gid {
		return nil
	}
	if err := os.Lchown(file, uid, gid); err != nil {
		return &FileError{Path: replaced, Err: err, Advice: "run this as the user who owns it, or with the right to give files away"}
	}
	return nil
}

func ownerOf(info fs.FileInfo) (uid, gid int) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid), int(stat.Gid)
	}
	return os.Geteuid(), os.Getegid()
}
