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

// The activity log is beside the file and has the activity that is not in the file yet: one JSON object per line,
// {"session_id":…,"created_at":…,"last_accessed":…}. A line only moves the activity of a session forward, and created_at
// distinguishes it from a later session with the same ID, so that lines may be applied any number of times, in any order, also
// after they were merged into the file. A line that cannot be read was truncated by a crash and is skipped.
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
	size  int64    // up to the end of the last complete line
}

// load returns the activity in the log that is newer than that of the sessions' entries. A missing log is empty.
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

// append makes lines durable. After an error the log has the previous lines, and perhaps a part of the new ones.
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
	if err := l.file.Truncate(l.size); err != nil { // of a line that a crash has truncated
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

// clear empties the log when all of it is in the file. A failure leaves lines without an effect.
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

// activityLimit is the size of the log at which it is merged into the file: that of the file, so that at most twice the size of
// the log is written for activity.
func (s *Store) activityLimit() int64 { return max(cmp.Or(s.minLog, minActivityLog), s.size) }

// note appends unlogged activity to the log, and reports whether it succeeded. It is not tried when the log has reached its
// limit.
func (s *Store) note() bool {
	s.mu.Lock()
	unlogged := s.unlogged
	s.unlogged = map[session.ID]struct{}{}
	var lines bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(unlogged)) {
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
	err := errors.New("the activity log has reached its limit")
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
	maps.Copy(s.unlogged, unlogged)
	return false
}

// withActivity returns the content of a store's file with the activity of its log. Other content is returned unchanged.
func withActivity(content []byte, path string) ([]byte, error) {
	im, err := decode(content)
	if err != nil {
		return content, nil //nolint:nilerr // the reader reports it
	}
	log := activityLog{path: path + activitySuffix}
	d := draft{image: im}
	if d.touched, err = log.load(im.sessions); err != nil {
		return nil, err
	}
	if !d.applyActivity() {
		return content, nil
	}
	return d.encode(), nil
}
