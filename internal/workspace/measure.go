package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the measurement of one volume. What a session has written decides how long it takes, and nothing else may.
const (
	maxEntries = 2_000_000        // files and directories
	maxTime    = 20 * time.Second // of walking
	maxDepth   = 512              // of directories in each other: each costs an open file
	batch      = 64               // entries of a directory that are read at once
)

// errBound is why the walk of a volume ended at a bound.
var errBound = errors.New("the walk has reached a bound")

// measured is what one measurement found.
type measured struct {
	bytes   int64
	partial bool // not everything was counted
	excess  bool // not everything was counted, because there are more entries, or deeper ones, than are ever walked
}

// measure adds up the sizes of the directories. Each is measured independently of the others.
func measure(ctx context.Context, dirs []string) (measured, error) {
	var all measured
	for _, dir := range dirs {
		w := walk{until: time.Now().Add(maxTime)}
		err := w.directory(ctx, unix.AT_FDCWD, dir, 0)
		if err != nil && !errors.Is(err, errBound) {
			return measured{}, err
		}
		all.bytes += w.bytes
		all.partial = all.partial || w.partial
		all.excess = all.excess || w.excess
	}
	return all, nil
}

// walk adds up the size of one volume.
type walk struct {
	measured
	entries int
	until   time.Time
}

// directory adds the content of a directory, which is named relative to an open one. The content belongs to a session, which
// may replace directories by links during the walk: no link is followed, and no path has more than one element.
func (w *walk) directory(ctx context.Context, parent int, name string, depth int) error {
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NONBLOCK | unix.O_CLOEXEC
	if depth > 0 {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(parent, name, flags, 0)
	if err != nil {
		return fmt.Errorf("open a directory of a volume: %w", err)
	}
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	for {
		names, err := d.Readdirnames(batch)
		for _, name := range names {
			if err := w.entry(ctx, fd, name, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a directory of a volume: %w", err)
		}
	}
}

// entry adds one file or directory with its content. One that was removed meanwhile counts nothing.
func (w *walk) entry(ctx context.Context, parent int, name string, depth int) error {
	if w.entries++; w.entries > maxEntries {
		w.partial, w.excess = true, true
		return errBound
	}
	if time.Now().After(w.until) {
		w.partial = true
		return errBound
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var stat unix.Stat_t
	err := unix.Fstatat(parent, name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at a file of a volume: %w", err)
	}
	w.bytes += onDisk(&stat)
	if !isDirectory(&stat) {
		return nil
	}
	if depth+1 >= maxDepth {
		w.partial, w.excess = true, true // it alone is left out
		return nil
	}
	err = w.directory(ctx, parent, name, depth+1)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // replaced meanwhile
	}
	return err
}

func isDirectory(stat *unix.Stat_t) bool { return stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// onDisk is the space that a file takes, which is less than its size where it has holes. With several names, each counts its
// share.
func onDisk(stat *unix.Stat_t) int64 {
	const block = 512 // of st_blocks, whatever the file system's are
	taken := stat.Blocks * block
	if isDirectory(stat) || stat.Nlink < 2 {
		return taken
	}
	return taken / int64(stat.Nlink)
}
