package jsonfile

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"berth/internal/fileowner"
	"berth/internal/session"
	"berth/internal/storage/record"
)

// The activity log lies beside the file and holds activity that the file does not hold yet: one JSON object per line,
// {"session_id":…,"created_at":…,"last_accessed":…}. A line moves the activity of one session forward and never back,
// and created_at keeps it from a later session with the same ID, so that lines may be applied any number of times, in any
// order, also after the file has taken them over. A line that cannot be read was cut off by a crash and is skipped.
const (
	activitySuffix = ".activity"
	minActivityLog = 256 << 10 // bytes; see [Store.activityLimit]
)

// note is one line of the activity log.
type note struct {
	ID           session.ID `json:"session_id"`
	CreatedAt    time.Time  `json:"created_at"`
	LastAccessed time.Time  `json:"last_accessed"`
}

// activityLog appends to the log. One goroutine at a time may use it.
type activityLog struct {
	path  string
	reach func(step) error
	file  *os.File // nil until the first append
	size  int64    // up to the end of the last whole line
}

// load returns the activity in the log that is newer than what the sessions' entries hold. A log that is not there is
// empty.
func (l *activityLog) load(sessions map[session.ID]*entry) (map[session.ID]time.Time, error) {
	newer := map[session.ID]time.Time{}
	file, err := os.OpenFile(l.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return newer, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return newer, nil
		}
		if err != nil {
			return nil, err
		}
		l.size += int64(len(line))
		var n note
		if json.Unmarshal(line, &n) != nil {
			continue
		}
		e, at := sessions[n.ID], record.InstantOf(n.LastAccessed)
		if e != nil && e.session.CreatedAt.Equal(n.CreatedAt) && at.After(e.session.LastAccessed) && at.After(newer[n.ID]) {
			newer[n.ID] = at
		}
	}
}

// append makes lines durable. After an error the log holds what it held before, perhaps with a part of the lines.
func (l *activityLog) append(lines []byte) error {
	if l.file == nil {
		file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, ownerOnly)
		if err != nil {
			return err
		}
		if err := fileowner.Give(file, filepath.Dir(l.path)); err != nil {
			_ = file.Close()
			return err
		}
		l.file = file
	}
	if err := l.write(lines); err != nil {
		_ = l.file.Truncate(l.size) // else the next append overwrites it
		return fmt.Errorf("append to the activity log: %w", err)
	}
	l.size += int64(len(lines))
	return nil
}

func (l *activityLog) write(lines []byte) error {
	if err := l.file.Truncate(l.size); err != nil { // of a line that a crash has cut off
		return err
	}
	if _, err := l.file.WriteAt(lines, l.size); err != nil {
		return err
	}
	if err := l.reach(stepNoted); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	return l.reach(stepNotedDurable)
}

// clear empties the log when the file holds all of it. A failure leaves lines that change nothing.
func (l *activityLog) clear() {
	if l.size == 0 {
		return
	}
	if l.file == nil {
		if os.Truncate(l.path, 0) == nil {
			l.size = 0
		}
		return
	}
	if l.file.Truncate(0) == nil {
		l.size = 0
	}
}

func (l *activityLog) close() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// activityLimit is how long the log may become before the file takes it over: as long as the file, so that what is
// written for activity is at most twice what the log takes.
func (s *Store) activityLimit() int64 { return max(cmp.Or(s.minLog, minActivityLog), s.size) }

// note writes activity that is in neither place into the log, and reports whether it is there now. It is not tried when
// the log is long enough.
func (s *Store) note() bool {
	s.mu.Lock()
	unnoted := s.unnoted
	s.unnoted = map[session.ID]struct{}{}
	var lines bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(unnoted)) {
		e, ok := s.stored.sessions[id]
		if at := s.touched[id]; ok && at.After(e.session.LastAccessed) {
			line, _ := json.Marshal(note{id, e.session.CreatedAt, at}) // its parts came from JSON
			lines.Write(line)
			lines.WriteByte('\n')
		}
	}
	s.mu.Unlock()
	if lines.Len() == 0 {
		return true
	}
	err := errors.New("the activity log is long enough")
	if s.activity.size+int64(lines.Len()) <= s.activityLimit() {
		if err = s.disk.lock.held(); err == nil {
			err = s.activity.append(lines.Bytes())
		}
	}
	if err == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.unnoted, unnoted)
	return false
}

// withActivity returns a store's file with the activity of its log in it. Content that is no such file is returned as it
// is.
func withActivity(content []byte, path string) ([]byte, error) {
	im, err := decode(content)
	if err != nil {
		return content, nil //nolint:nilerr // whoever reads it finds out
	}
	log := activityLog{path: path + activitySuffix}
	d := draft{image: im}
	if d.touched, err = log.load(im.sessions); err != nil {
		return nil, err
	}
	if !d.fold() {
		return content, nil
	}
	return d.encode(), nil
}
