package jsonfile

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"berth/internal/fileowner"
	"berth/internal/session"
	"berth/internal/usage"
)

// UsageOptions are the settings of a Usage. The zero value is usable.
type UsageOptions struct {
	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // default: discards

	sync func(*os.File) error // of tests; nil: File.Sync
}

// Usage keeps what sessions use in a directory, with one file for each day. A file is a log: a line when a call begins, with what
// it holds, and one when it ends, with what it used. The first is written without waiting for the disk, so that it outlives this
// process but perhaps not a crash of the machine; the second is on the disk when the call that writes it returns.
//
// In memory there are the counters of budgets for the present month, and the calls in progress.
type Usage struct {
	dir  string
	lock *lock
	opts UsageOptions

	mu       sync.Mutex
	live     map[string]usage.Hold // calls in progress
	months   map[time.Time]map[usage.Key]usage.Counter
	minutes  map[usage.Key]usage.Counter // requests
	files    map[time.Time]*usageFile    // that are open, by day
	orphaned map[time.Time]int64         // sizes of the files at the start: calls whose holds are before that ended with their process
	closed   bool
}

var _ usage.Store = (*Usage)(nil)

const (
	usageSuffix = ".jsonl"
	// mostUsageFiles is how many days' files are open at the same time.
	mostUsageFiles = 4
	// compactAt is the size in bytes above which a file is compacted, when it is also four times as long as after the last time.
	compactAt = 1 << 20
)

// OpenUsage opens a directory, or creates it, and locks it for this process until Close. Every error is a CodeStoreUnavailable
// one.
func OpenUsage(dir string, opts UsageOptions) (*Usage, error) {
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.sync == nil {
		opts.sync = (*os.File).Sync
	}
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := fileowner.GivePath(dir, filepath.Dir(dir)); err != nil {
			return nil, unavailable("create the directory of usage "+dir, err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, unusable("create the directory of usage", dir, err)
	}
	lock, err := acquire(dir + lockSuffix)
	if err != nil {
		return nil, err
	}
	s := &Usage{
		dir: dir, lock: lock, opts: opts, live: map[string]usage.Hold{}, months: map[time.Time]map[usage.Key]usage.Counter{},
		minutes: map[usage.Key]usage.Counter{}, files: map[time.Time]*usageFile{}, orphaned: map[time.Time]int64{},
	}
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// begin notes the files that are there, and reads those of the present month, so that damage is found at the start.
func (s *Usage) begin() error {
	days, err := usageDays(s.dir)
	if err != nil {
		return unusable("read the usage", s.dir, err)
	}
	for _, day := range days {
		info, err := os.Stat(s.path(day))
		if err != nil {
			return unusable("read the usage", s.dir, err)
		}
		s.orphaned[day] = info.Size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.month(s.opts.Now())
	return err
}

// Close releases the directory. Calls in progress are counted by their estimate afterwards.
func (s *Usage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var faults []error
	for _, f := range s.files {
		faults = append(faults, f.file.Sync(), f.file.Close())
	}
	s.lock.release()
	return errors.Join(faults...)
}

func (s *Usage) path(day time.Time) string {
	return filepath.Join(s.dir, day.Format(time.DateOnly)+usageSuffix)
}

// usageDays lists the days that have a file, the oldest first.
func usageDays(dir string) ([]time.Time, error) {
	entries, err := os.ReadDir(dir)
	var days []time.Time
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), usageSuffix)
		if day, err := time.Parse(time.DateOnly, name); err == nil && ours {
			days = append(days, day)
		}
	}
	return days, err
}

// file opens the file of a day.
func (s *Usage) file(day time.Time) (*usageFile, error) {
	if s.closed {
		return nil, session.Errorf(session.CodeStoreUnavailable, "the store of usage is closed")
	}
	if f, open := s.files[day]; open {
		return f, nil
	}
	if len(s.files) >= mostUsageFiles {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(s.files)), time.Time.Compare)
		s.release(oldest)
	}
	f, err := openUsageFile(s.path(day), s.dir)
	if err != nil {
		return nil, s.unwritten(err)
	}
	s.files[day] = f
	return f, nil
}

func (s *Usage) release(day time.Time) {
	f := s.files[day]
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if s.opts.sync(f.file) == nil {
		f.synced = f.size.Load()
	}
	f.file.Close()
	delete(s.files, day)
}

func (s *Usage) unwritten(err error) error {
	if isFull(err) {
		return session.Errorf(session.CodeStoreUnavailable, "the disk that holds the usage of models is full; free some space").Because(err)
	}
	return unusable("write the usage of models", s.dir, err)
}

// month returns the counters of the month of an instant, which it reads if necessary.
func (s *Usage) month(at time.Time) (map[usage.Key]usage.Counter, error) {
	start := usage.MoneyPerMonth.Start(at)
	if known, ok := s.months[start]; ok {
		return known, nil
	}
	days, err := usageDays(s.dir)
	if err != nil {
		return nil, unusable("read the usage", s.dir, err)
	}
	counters := map[usage.Key]usage.Counter{}
	for _, day := range days {
		if !usage.MoneyPerMonth.Start(day).Equal(start) {
			continue
		}
		records, content, err := s.read(day)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			count(counters, usage.Hold{At: day, Session: r.Session, Owner: r.Owner}.Settled(r.Use()))
		}
		s.recount(content)
	}
	for _, h := range s.live {
		if usage.MoneyPerMonth.Start(h.At).Equal(start) {
			count(counters, h.Reserved(nil))
		}
	}
	s.months[start] = counters
	return counters, nil
}

// recount counts the requests of the last minute of a process that has ended.
func (s *Usage) recount(content usageDay) {
	now := s.opts.Now()
	for id, h := range content.open {
		if _, live := s.live[id]; live || now.Sub(h.At).Abs() > time.Minute {
			continue
		}
		for _, holder := range h.Holders() {
			key := usage.Key{Holder: holder, Kind: usage.RequestsPerMinute, Start: usage.RequestsPerMinute.Start(h.At)}
			s.minutes[key] = usage.Counter{Used: s.minutes[key].Used + 1}
		}
	}
}

// read reads a day's file. It is not locked against appends: what is read is complete lines.
func (s *Usage) read(day time.Time) ([]usage.Record, usageDay, error) {
	f := usageFile{path: s.path(day)}
	content, err := f.read()
	if err != nil {
		return nil, content, unreadable(s.dir, err)
	}
	return content.records(day, s.orphaned[day]), content, nil
}

// unreadable is the failure of a read.
func unreadable(dir string, err error) error {
	if _, ok := errors.AsType[*session.Failure](err); ok {
		return err
	}
	return unusable("read the usage of models", dir, err)
}

func count(counters map[usage.Key]usage.Counter, charges []usage.Charge) {
	for _, c := range charges {
		now := counters[c.Key]
		counters[c.Key] = usage.Counter{Used: now.Used + c.Delta.Used, Held: now.Held + c.Delta.Held}
	}
}

// counters returns the map that a counter is in.
func (s *Usage) counters(key usage.Key) (map[usage.Key]usage.Counter, error) {
	if key.Kind == usage.RequestsPerMinute {
		return s.minutes, nil
	}
	return s.month(key.Start)
}

// Counters implements [usage.Store].
func (s *Usage) Counters(ctx context.Context, keys []usage.Key) (map[usage.Key]usage.Counter, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[usage.Key]usage.Counter{}
	for _, key := range keys {
		counters, err := s.counters(key)
		if err != nil {
			return nil, err
		}
		found[key] = counters[key]
	}
	return found, nil
}
