package jsonfile

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"berth/internal/atomicfile"
	"berth/internal/fileowner"
	"berth/internal/session"
	"berth/internal/usage"
)

// usageFile is the file of one day, open for appending.
type usageFile struct {
	path string
	file *os.File
	info os.FileInfo
	size atomic.Int64 // of complete lines; what is behind them is the rest of a failed write

	compact int64 // its size after it was compacted

	syncing sync.Mutex
	synced  int64 // this much is on the disk; guarded by syncing
}

// openUsageFile opens a day's file, or creates it, and removes a last line that was cut off.
func openUsageFile(path, dir string) (f *usageFile, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, ownerOnly)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	f = &usageFile{path: path, file: file}
	if f.info, err = file.Stat(); err != nil {
		return nil, err
	}
	if f.info.Size() == 0 {
		if err = fileowner.Give(file, dir); err == nil {
			err = atomicfile.SyncDir(dir)
		}
		return f, err
	}
	content, err := f.read()
	if err != nil {
		return f, err
	}
	if f.size.Store(content.size); content.size < f.info.Size() {
		err = file.Truncate(content.size)
	}
	return f, err
}

// read reads the file as it is now.
func (f *usageFile) read() (usageDay, error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return usageDay{}, err
	}
	content, err := parseUsage(data)
	if err != nil {
		return usageDay{}, damagedUsage(f.path, err)
	}
	return content, nil
}

func damagedUsage(path string, err error) error {
	return session.Errorf(session.CodeStoreUnavailable, "%s %s; repair it, or move it away, so that its day is not counted", path, err).Because(err)
}

// append writes lines at the end, perhaps in memory of the system only: they outlive this process then, but not a crash of the
// machine. All of them are written or none.
func (f *usageFile) append(text []byte) error {
	if info, err := os.Stat(f.path); err != nil || !os.SameFile(info, f.info) {
		return fmt.Errorf("%s was removed or replaced; restart Berth", f.path)
	}
	size := f.size.Load()
	if _, err := f.file.WriteAt(text, size); err != nil {
		_ = f.file.Truncate(size) // otherwise the next line is written over it
		return err
	}
	f.size.Store(size + int64(len(text)))
	return nil
}

// sync returns when the lines up to a size are on the disk. Calls at the same time share one write.
func (f *usageFile) sync(size int64, syncFile func(*os.File) error) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.synced >= size {
		return nil
	}
	upTo := f.size.Load()
	if err := syncFile(f.file); err != nil {
		return err
	}
	f.synced = upTo
	return nil
}

// encodeUsage is the shortest file with the same content.
func encodeUsage(records []usage.Record, open map[string]usage.Hold) []byte {
	var text []byte
	for _, r := range records {
		text = append(text, useLine(r, r.Use()).encode()...)
	}
	for _, h := range open {
		text = append(text, holdLine(h).encode()...)
	}
	return text
}
