package jsonfile

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/fileowner"
)

// The reserve is a file that only occupies disk space. When the disk is full, a part of it is freed for a change that uses no
// additional resources: a stop, a delete, a rotation. Without it, these would fail on a full disk, too.
const (
	reserveSuffix = ".reserve"
	minReserve    = 256 << 10   // bytes
	reserveWrites = 4           // number of versions of the file that it has space for
	reserveSlack  = 8 << 10     // bytes that a write needs beside the file: directories, the file system's own
	reserveShare  = 8           // it takes at most this fraction of the free space
	reservePause  = time.Second // between two attempts to create it
)

// reserve reserves disk space beside a file. One goroutine at a time may use it.
type reserve struct {
	path  string
	dir   string
	tried time.Time
}

// keep extends the reserve for a file of this size, as far as the disk has space. A failure is not an error: a disk that is
// full already must be cleared by other means.
func (r *reserve) keep(size int64) {
	now := time.Now()
	if now.Sub(r.tried) < reservePause {
		return
	}
	r.tried = now
	var disk unix.Statfs_t
	if unix.Statfs(r.dir, &disk) != nil {
		return
	}
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:unconvert // the types differ by architecture
	have := r.size()
	want := min(max(minReserve, reserveWrites*(size+reserveSlack)), have+(free-have)/reserveShare)
	if want-have < reserveSlack/4 {
		return
	}
	file, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, ownerOnly)
	if err != nil {
		return
	}
	defer file.Close()
	if fileowner.Give(file, r.dir) != nil {
		return
	}
	if err := occupy(file, have, want); err != nil {
		_ = file.Truncate(have)
	}
}

// occupy allocates the blocks of a file from one size to the next.
func occupy(file *os.File, from, to int64) error {
	err := unix.Fallocate(int(file.Fd()), 0, from, to-from)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	zeros := make([]byte, 64<<10)
	for from < to {
		n, err := file.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return file.Sync() // allocates the blocks
}

// give frees the space that a file of this size needs, in parts, because other processes may use the freed space. It reports
// whether anything was left.
func (r *reserve) give(size int64) bool {
	have := r.size()
	if have == 0 {
		return false
	}
	return os.Truncate(r.path, max(0, have-size-reserveSlack)) == nil
}

func (r *reserve) size() int64 {
	info, err := os.Lstat(r.path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// isFull reports whether a write failed because the disk is full.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
