// Package jsonfile is the session store for one machine: every session in memory, and every change in one JSON file
// before its caller hears of it.
//
// It knows the file's format, how to replace a file so that no crash can tear it, and how to keep a second process
// out. It refuses to know what sessions mean: the rules are in package session, and package storetest holds the
// meaning of a store.
//
// Beside the file it keeps others: .previous, the version before the present one; .activity, a log of when sessions were
// used last, which the file takes over with the next change, when the log gets long, and at the end; .reserve, space for
// what frees resources when the disk is full; .lock, held for as long as the store is open; and, for the length of a
// write, a temporary file. Who reads the file without its log misses the newest activity and nothing else. There is no moment at which the file itself is
// missing, so that a missing file beside a .previous one was taken away by somebody, and is refused.
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

// touchDelay is how late activity is written, and so the most of it that a crash can lose.
const touchDelay = time.Second

// Options are the store's settings. The zero value is good.
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
	stored   image                    // what the file holds; replaced as a whole, never changed in place
	touched  map[session.ID]time.Time // activity that the file does not hold yet
	unnoted  map[session.ID]struct{}  // those of touched that the activity log does not hold either
	size     int64                    // of the file in bytes
	queue    []*change                // changes that nobody has begun to write
	flushing *time.Timer              // until touched is due; nil when nothing waits
	due      bool                     // unnoted is to be written now
	flushes  []chan struct{}          // to be closed when that was tried
	writing  bool                     // a writer is running
	broken   error                    // why the last write was not made; nil after one that was
	closed   bool
	writer   sync.WaitGroup
}

var _ session.Store = (*Store)(nil)

// Open reads the file, or begins an empty one if there is none, and locks it for this process until Close. The
// directory must exist. Every error is a CodeStoreUnavailable one and leaves the files as they were: another process
// uses the file; it is cut off, foreign or of a newer format; it is missing although there is a previous version.
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
		disk:    disk{path: path, lock: lock, fault: opts.fault, link: opts.link},
		logger:  cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)),
		unnoted: map[session.ID]struct{}{},
		minLog:  opts.minLog,
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
	if err := s.disk.tidy(); err != nil {
		lock.release()
		return nil, unusable("tidy up beside the session store "+path, path, err)
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

// Close writes what is waiting and lets go of the file. It returns an error if the latest activity could not be
// written; the store is closed all the same. It may be called again.
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
	if len(s.unnoted) > 0 {
		return unavailable("write the latest activity", s.broken)
	}
	return nil
}

// Get returns a session as the file holds it, with activity up to now.
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

// Touch notes activity, to be written within a second: into the file if it changes anyway, else into the activity log.
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
			s.unnoted[id] = struct{}{}
		}
	}
	s.flushLater()
	return nil
}

// Flush writes waiting activity now and waits for it. That it could not be written is not an error: it stays waiting.
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

// Ping fails if the store is closed, if its lock was taken away, or if the last write failed and another try fails
// as well.
func (s *Store) Ping(ctx context.Context) error {
	if err := ended(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	closed, broken := s.closed, s.broken
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

// flushLater makes sure that waiting activity becomes due. The caller holds mu.
func (s *Store) flushLater() {
	if len(s.unnoted) == 0 || s.flushing != nil || s.closed {
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

// forget drops activity that the file now holds, or whose session is gone. The caller holds mu.
func (s *Store) forget(written map[session.ID]time.Time) {
	maps.DeleteFunc(s.touched, func(id session.ID, at time.Time) bool {
		_, exists := s.stored.sessions[id]
		if gone := !exists || !at.After(written[id]); !gone {
			return false
		}
		delete(s.unnoted, id)
		return true
	})
	for id := range s.touched { // of a session that has the ID now, or that came during the write
		s.unnoted[id] = struct{}{}
	}
}

// resolve follows symbolic links, so that the file's companions are beside the file itself and two names of it share
// one lock.
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
			"the session store %s is a symbolic link to nowhere; is what it points to mounted?", path)
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

// unusable is the same for a file that is there, and says what to do when this process may not use it.
func unusable(doing, path string, err error) error {
	if remedy := fileowner.Remedy(err, path); remedy != "" {
		return session.Errorf(session.CodeStoreUnavailable, "could not %s; %s", doing, remedy).Because(err)
	}
	return unavailable(doing, err)
}

func errClosed() error {
	return session.Errorf(session.CodeStoreUnavailable, "the session store is closed")
}
