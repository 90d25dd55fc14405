// Package jsonfile is the session store for one machine: all sessions are in memory, and a change is durable in one JSON file
// before the call returns.
//
// It knows the file's format, how to replace the file atomically, and how to lock out a second process. It does not know the
// meaning of sessions: the rules are in package session, and package storetest has the conformance suite of stores.
//
// Beside the file there are others: .previous, the previous version; .activity, a log of the sessions' last activity, which is
// merged into the file with the next change, when the log gets long, and on close; .reserve, reserved disk space for changes
// that free resources; .lock, locked while the store is open; and, during a write, a temporary file. The file without its log
// lacks the newest activity only. The file exists at every moment, so that a missing file beside a .previous one was removed
// from outside, which is an error.
package jsonfile

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"berth/internal/fileowner"
	"berth/internal/session"
	"berth/internal/storage/record"
)

// touchDelay is the delay until activity is written, and the most of it that a crash can lose.
const touchDelay = time.Second

// Options are the store's settings. The zero value is usable.
type Options struct {
	Logger *slog.Logger // default: discards

	// Hooks of the tests of this package.
	fault  func(step) error
	link   func(oldname, newname string) error
	minLog int64 // bytes of the activity log that are always allowed
}

// Store keeps sessions in one JSON file. It is safe for concurrent use.
type Store struct {
	disk     disk
	activity activityLog // the writer's
	reserve  reserve     // the writer's
	minLog   int64
	logger   *slog.Logger

	mu       sync.Mutex
	stored   image                    // the content of the file; replaced as a whole, never changed in place
	touched  map[session.ID]time.Time // activity that is not in the file yet
	unlogged map[session.ID]struct{}  // those of touched that are not in the activity log either
	size     int64                    // of the file in bytes
	queue    []*change                // changes that are not being written yet
	flushing *time.Timer              // until touched is due; nil when nothing waits
	due      bool                     // unlogged must be written now
	flushes  []chan struct{}          // closed after that attempt
	writing  bool                     // a writer is running
	writeErr error                    // of the last write; nil: it succeeded
	closed   bool
	writer   sync.WaitGroup
}

var _ session.Store = (*Store)(nil)

// Open reads the file, or creates an empty one if there is none, and locks it for this process until Close. The directory must
// exist. Every error is a CodeStoreUnavailable one and leaves the files unchanged: another process uses the file; it is
// truncated, of another program or of a newer format; it is missing although there is a previous version.
func Open(path string, opts Options) (*Store, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	lock, err := acquire(path + lockSuffix)
	if err != nil {
		return nil, err
	}
	s := &Store{
		disk:     disk{path: path, lock: lock, fault: opts.fault, link: opts.link},
		logger:   cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		unlogged: map[session.ID]struct{}{},
		minLog:   opts.minLog,
	}
	s.activity = activityLog{path: path + activitySuffix, reach: s.disk.reach}
	s.reserve = reserve{path: path + reserveSuffix, dir: s.disk.dir()}
	if s.disk.link == nil {
		s.disk.link = os.Link
	}
	if s.stored, err = s.disk.load(); err != nil {
		lock.release()
		return nil, err
	}
	if err := s.disk.cleanUp(); err != nil {
		lock.release()
		return nil, unusable("clean up beside the session store "+path, path, err)
	}
	if s.touched, err = s.activity.load(s.stored.sessions); err != nil {
		lock.release()
		return nil, unusable("read the activity log of the session store", path, err)
	}
	if info, err := os.Stat(path); err == nil {
		s.size = info.Size()
	}
	s.reserve.keep(s.size)
	return s, nil
}

// Close writes pending activity and releases the file. It returns an error if the latest activity could not be written; the
// store is closed in any case. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.writer.Wait()
		return nil
	}
	s.closed = true
	if s.flushing != nil {
		s.flushing.Stop()
	}
	s.due = true
	s.work()
	s.mu.Unlock()
	s.writer.Wait()

	s.activity.close()
	s.disk.lock.release()
	if len(s.unlogged) > 0 {
		return unavailable("write the latest activity", s.writeErr)
	}
	return nil
}

// Get returns a session as stored in the file, with its latest activity.
func (s *Store) Get(ctx context.Context, id session.ID) (session.Session, error) {
	if err := ended(ctx); err != nil {
		return session.Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return session.Session{}, errClosed()
	}
	e, ok := s.stored.sessions[id]
	if !ok {
		return session.Session{}, session.NotFound(id)
	}
	return e.at(s.touched[id]), nil
}

// Touch records activity, which is written within a second: to the file if it changes anyway, else to the activity log.
func (s *Store) Touch(ctx context.Context, at map[session.ID]time.Time) error {
	if err := ended(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed()
	}
	for id, when := range at {
		when = record.InstantOf(when)
		e, ok := s.stored.sessions[id]
		if ok && when.After(e.session.LastAccessed) && when.After(s.touched[id]) {
			s.touched[id] = when
			s.unlogged[id] = struct{}{}
		}
	}
	s.flushLater()
	return nil
}

// Flush writes pending activity now and waits for it. If it cannot be written, it stays pending.
func (s *Store) Flush() {
	done := make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.due = true
	s.flushes = append(s.flushes, done)
	s.work()
	s.mu.Unlock()
	<-done
}

// Ping fails if the store is closed, if its lock was removed, or if the last write failed and a retry fails as well.
func (s *Store) Ping(ctx context.Context) error {
	if err := ended(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	closed, broken := s.closed, s.writeErr
	s.mu.Unlock()
	switch {
	case closed:
		return errClosed()
	case broken != nil:
		return s.submit(ctx, func(*draft) (effect, error) { return grows, nil })
	}
	if err := s.disk.lock.held(); err != nil {
		return unwritten(err)
	}
	return nil
}

// flushLater schedules the write of pending activity. The caller holds mu.
func (s *Store) flushLater() {
	if len(s.unlogged) == 0 || s.flushing != nil || s.closed {
		return
	}
	s.flushing = time.AfterFunc(touchDelay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flushing = nil
		if !s.closed {
			s.due = true
			s.work()
		}
	})
}

// forget drops activity that is in the file now, or that belongs to a deleted session. The caller holds mu.
func (s *Store) forget(written map[session.ID]time.Time) {
	maps.DeleteFunc(s.touched, func(id session.ID, at time.Time) bool {
		_, exists := s.stored.sessions[id]
		if gone := !exists || !at.After(written[id]); !gone {
			return false
		}
		delete(s.unlogged, id)
		return true
	})
	for id := range s.touched { // of a new session with this ID, or recorded during the write
		s.unlogged[id] = struct{}{}
	}
}

// resolve follows symbolic links, so that the other files are beside the file itself and two names of it share one lock.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", unavailable("find the session store", err)
	}
	target, err := filepath.EvalSymlinks(path)
	if err == nil {
		return target, nil
	}
	if !os.IsNotExist(err) {
		return "", unavailable("find the session store "+path, err)
	}
	if _, err := os.Lstat(path); err == nil {
		return "", session.Errorf(session.CodeStoreUnavailable,
			"the session store %s is a dangling symbolic link; is its target mounted?", path)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", unavailable("find the directory of the session store", err)
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

func unavailable(doing string, err error) error {
	return session.Errorf(session.CodeStoreUnavailable, "could not %s", doing).Because(err)
}

// unusable is the same for an existing file, with the remedy if this process has no permission.
func unusable(doing, path string, err error) error {
	if remedy := fileowner.Remedy(err, path); remedy != "" {
		return session.Errorf(session.CodeStoreUnavailable, "could not %s; %s", doing, remedy).Because(err)
	}
	return unavailable(doing, err)
}

func errClosed() error {
	return session.Errorf(session.CodeStoreUnavailable, "the session store is closed")
}
