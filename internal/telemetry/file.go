package telemetry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/DeRuina/timberjack"
)

// File is a log file that is rotated by size.
type File struct {
	Path      string // empty: no file
	MaxSizeMB int    // 0: 100
	Backups   int    // rotated files that are kept; 0: all
}

// fileMode lets the group read, as log collectors need it.
const fileMode = 0o640

// wholeFile writes lines to a log file, each of them completely or not at all: a partial line on a full disk is removed. A
// file that another program has moved or removed is created again.
type wholeFile struct {
	file File

	mu     sync.Mutex
	out    *timberjack.Logger
	looked time.Time // when the file was last found in place
	opened os.FileInfo
}

// lookEvery is the least time between two checks that the file is still in place.
const lookEvery = time.Second

// openFile opens the file immediately: the library would report an error only with the first lost line.
func openFile(f File) (*wholeFile, error) {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o750); err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	probe, err := os.OpenFile(f.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	if err := probe.Close(); err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	w := &wholeFile{file: f}
	w.begin()
	return w, nil
}

// begin uses the existing file, or creates one with the next line. The caller holds mu, or has the only reference.
func (w *wholeFile) begin() {
	w.out = &timberjack.Logger{
		Filename: w.file.Path, MaxSize: w.file.MaxSizeMB, MaxBackups: w.file.Backups, FileMode: fileMode, Compression: "none",
	}
	w.opened = nil
}

// Write writes a line. After an error no part of it is in the file.
func (w *wholeFile) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.looked) >= lookEvery {
		w.looked = now
		w.look()
	}
	n, err := w.out.Write(line)
	if err == nil {
		return n, nil
	}
	// The library would continue at its offset, which is after the partial line.
	_ = w.out.Close()
	w.begin()
	if n > 0 {
		if info, lost := os.Stat(w.file.Path); lost == nil {
			err = errors.Join(err, os.Truncate(w.file.Path, max(0, info.Size()-int64(n))))
		}
	}
	return 0, err
}

// look reopens the path if it is not the open file any more. The library's own rotation also causes one reopening.
func (w *wholeFile) look() {
	info, err := os.Stat(w.file.Path)
	if err == nil && w.opened != nil && os.SameFile(info, w.opened) {
		return
	}
	if w.opened != nil || err != nil {
		_ = w.out.Close()
		w.begin()
	}
	if err == nil {
		w.opened = info
	}
}

// Close closes the file and waits for its rotation.
func (w *wholeFile) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Close()
}

// fallback is a file whose lines are written elsewhere while writes to it fail. It reports each failure and each recovery once.
type fallback struct {
	out       io.Writer
	instead   func(line []byte) // gets a line that was not written to the file; nil: every line is written elsewhere anyway
	failed    func(err error)   // called before the first such line
	recovered func()            // called when a line was written to the file again

	mu      sync.Mutex
	failing bool
}

// Write never fails.
func (f *fallback) Write(line []byte) (int, error) {
	_, err := f.out.Write(line)
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.failing
	f.failing = err != nil
	switch {
	case err != nil && !before:
		f.failed(err)
	case err == nil && before:
		f.recovered()
	}
	if err != nil && f.instead != nil {
		f.instead(line)
	}
	return len(line), nil
}
