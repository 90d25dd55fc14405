package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"syscall"
	"time"

	"berth/internal/session"
)

// Bounds of one measurement. What a session has written decides how long it takes, and nothing else may.
const (
	maxEntries = 2_000_000        // files and directories
	maxTime    = 20 * time.Second // of walking
	maxDepth   = 128              // of directories in each other
	batch      = 256              // entries of a directory that are read at once
)

// errBound ends a walk that has reached a bound.
var errBound = errors.New("the walk has reached a bound")

// walk adds up what directories take.
type walk struct {
	bytes   int64
	entries int
	until   time.Time
}

// measure returns what is in the directories, and whether it is all.
func measure(ctx context.Context, dirs []string) (size session.Bytes, whole bool, err error) {
	w := walk{until: time.Now().Add(maxTime)}
	for _, dir := range dirs {
		// What is in there belongs to a session, which may exchange directories for links while they are walked: the root
		// keeps the walk inside.
		root, err := os.OpenRoot(dir)
		if err != nil {
			return 0, false, fmt.Errorf("open a volume: %w", err)
		}
		err = w.directory(ctx, root, ".", 0)
		_ = root.Close()
		switch {
		case errors.Is(err, errBound):
			return session.Bytes(w.bytes), false, nil
		case err != nil:
			return 0, false, err
		}
	}
	return session.Bytes(w.bytes), true, nil
}

func (w *walk) directory(ctx context.Context, root *os.Root, name string, depth int) error {
	d, err := root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open a directory of a volume: %w", err)
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(batch)
		for _, e := range entries {
			if err := w.entry(ctx, root, path.Join(name, e.Name()), depth); err != nil {
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

// entry adds one file or directory, with all that is in it. One that has gone meanwhile counts nothing.
func (w *walk) entry(ctx context.Context, root *os.Root, name string, depth int) error {
	if w.entries++; w.entries > maxEntries || depth >= maxDepth || time.Now().After(w.until) {
		return errBound
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	info, err := root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at a file of a volume: %w", err)
	}
	w.bytes += onDisk(info)
	if !info.IsDir() {
		return nil
	}
	err = w.directory(ctx, root, name, depth+1)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // exchanged meanwhile
	}
	return err
}

// onDisk is what a file takes, which is less than its size where it has holes. Of one with several names each counts its
// share.
func onDisk(info os.FileInfo) int64 {
	const block = 512 // of st_blocks, whatever the file system's are
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	if taken := stat.Blocks * block; info.IsDir() || stat.Nlink < 2 {
		return taken
	}
	return stat.Blocks * block / int64(stat.Nlink)
}
