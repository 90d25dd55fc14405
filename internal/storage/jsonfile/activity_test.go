package jsonfile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/internal/session"
)

// moment is the nth time of use in a test.
func moment(n int) time.Time {
	return sample("").LastAccessed.Add(time.Duration(n) * time.Microsecond).UTC()
}

func touch(t *testing.T, s *Store, id session.ID, n int) {
	t.Helper()
	if err := s.Touch(t.Context(), map[session.ID]time.Time{id: moment(n)}); err != nil {
		t.Fatal(err)
	}
	s.Flush()
}

func wantAccessed(t *testing.T, s *Store, id session.ID, n int, why string) {
	t.Helper()
	if got, err := s.Get(t.Context(), id); err != nil || !got.LastAccessed.Equal(moment(n)) {
		t.Errorf("%s: %s was last accessed %s, %v; want %s", why, id, got.LastAccessed, err, moment(n))
	}
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// crash releases the lock, as the kernel does for a killed process.
func crash(s *Store) { s.disk.lock.release() }

func TestActivityDoesNotRewriteFile(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	for i := range 100 {
		create(t, s, session.ID(fmt.Sprintf("ses-%03d", i)))
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 50; n++ {
		touch(t, s, "ses-007", n)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the file was written for activity alone")
	}
	if got := sizeOf(t, path+activitySuffix); got > 50*200 {
		t.Errorf("50 notes of one session took %d bytes in the log, want at most 200 each", got)
	}
	wantOwnerOnly(t, path+activitySuffix)
	crash(s)
	wantAccessed(t, open(t, path, Options{}), "ses-007", 50, "after a crash")
}

func TestActivityIsMergedIntoFileByChangeAndClose(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	alone := func() time.Time { // as a Berth without the log reads it
		im, err := decode([]byte(read(t, path)))
		if err != nil {
			t.Fatal(err)
		}
		return im.sessions["ses-a"].session.LastAccessed
	}
	touch(t, s, "ses-a", 1)
	create(t, s, "ses-b")
	if got := alone(); !got.Equal(moment(1)) {
		t.Errorf("after a change the file alone says %s, want %s", got, moment(1))
	}
	if got := sizeOf(t, path+activitySuffix); got != 0 {
		t.Errorf("after a change the log has %d bytes, want none", got)
	}
	touch(t, s, "ses-a", 2)
	if got := alone(); !got.Equal(moment(1)) {
		t.Error("activity was written into the file: this test tests nothing")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := alone(); !got.Equal(moment(2)) {
		t.Errorf("after close the file alone says %s, want %s", got, moment(2))
	}
}

func TestActivityLogIsBounded(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{minLog: 4096})
	create(t, s, "ses-a")
	most := int64(0)
	for n := 1; n <= 300; n++ {
		touch(t, s, "ses-a", n)
		most = max(most, sizeOf(t, path+activitySuffix))
	}
	if most > 4096 || most < 2048 {
		t.Errorf("the log has had %d bytes, want it to fill 4096 and no more", most)
	}
	crash(s)
	wantAccessed(t, open(t, path, Options{}), "ses-a", 300, "after a crash")
}

func TestDamagedActivityLogLosesDamagedLinesOnly(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	create(t, s, "ses-b")
	touch(t, s, "ses-a", 1)
	touch(t, s, "ses-b", 2)
	touch(t, s, "ses-a", 3)
	crash(s)
	lines := strings.SplitAfter(read(t, path+activitySuffix), "\n")
	write(t, path+activitySuffix, lines[0]+"\x00\x00\n"+lines[1]+`{"session_id":5}`+"\n[]\n"+lines[2][:len(lines[2])-10])
	s = open(t, path, Options{})
	wantAccessed(t, s, "ses-a", 1, "with its last line cut off")
	wantAccessed(t, s, "ses-b", 2, "after a line of zeros")
	touch(t, s, "ses-b", 4) // after what was cut off
	crash(s)
	wantAccessed(t, open(t, path, Options{}), "ses-b", 4, "with a log that went on after a cut")
}

func TestActivityOfDeletedSessionIsNotAppliedToNextOne(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	old := create(t, s, "ses-a")
	touch(t, s, "ses-a", 9)
	stale := read(t, path+activitySuffix)
	if err := s.Delete(t.Context(), "ses-a", old.Revision); err != nil {
		t.Fatal(err)
	}
	next := sample("ses-a")
	next.CreatedAt = next.CreatedAt.Add(time.Microsecond)
	if _, err := s.Create(t.Context(), next, session.Quota{}); err != nil {
		t.Fatal(err)
	}
	crash(s)
	write(t, path+activitySuffix, stale) // as if the crash had come before the log was emptied
	s = open(t, path, Options{})
	wantAccessed(t, s, "ses-a", 0, "a session with the ID of an earlier one")
	touch(t, s, "ses-a", 1)
	crash(s)
	wantAccessed(t, open(t, path, Options{}), "ses-a", 1, "activity earlier than the earlier session's")
}

func TestLockedFileIncludesActivity(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	touch(t, s, "ses-a", 5)
	crash(s)
	locked, err := LockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	contents, err := Read(locked.Data, func(string) string { return "" })
	if err != nil || len(contents.Sessions) != 1 || !contents.Sessions[0].LastAccessed.Equal(moment(5)) {
		t.Errorf("the locked file has %+v, %v; want the activity of its log", contents.Sessions, err)
	}
	if _, err := locked.Retire("migrated"); err != nil {
		t.Fatal(err)
	}
	locked.Release()
	for name := range snapshot(t, filepath.Dir(path)) {
		if name != filepath.Base(path)+".migrated" {
			t.Errorf("%s is left beside the backup", name)
		}
	}
}

func TestRemoveDeletesAllFiles(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	touch(t, s, "ses-a", 5)
	crash(s)
	if err := Remove(path); err != nil {
		t.Fatal(err)
	}
	if left := snapshot(t, filepath.Dir(path)); len(left) != 0 {
		t.Errorf("a removed store leaves %v", left)
	}
}

// touchingChild records activity in a loop, and reports it as [child] does.
func touchingChild(path string) error {
	s, err := Open(path, Options{fault: killAtStep(os.Getenv(childExitsAtStep)), minLog: 1024})
	if err != nil {
		return err
	}
	ctx := context.Background()
	begin := 1
	for _, id := range []session.ID{"ses-0", "ses-1", "ses-2"} {
		switch old, err := s.Get(ctx, id); session.CodeOf(err) {
		case "":
			begin = max(begin, int(old.LastAccessed.Sub(moment(0))/time.Microsecond)+1)
		case session.CodeNotFound:
			if _, err := s.Create(ctx, sample(id), session.Quota{}); err != nil {
				return err
			}
		default:
			return err
		}
	}
	fmt.Fprintln(os.Stdout, "open")
	for n := begin; n < begin+1000; n++ {
		id := session.ID(fmt.Sprintf("ses-%d", n%3))
		fmt.Fprintf(os.Stdout, "try %s %d\n", id, n)
		if err := s.Touch(ctx, map[session.ID]time.Time{id: moment(n)}); err != nil {
			return err
		}
		s.Flush()
		fmt.Fprintf(os.Stdout, "ack %s %d\n", id, n)
	}
	return s.Close()
}

// checkActivity opens the file as the next process does and compares activity with the reports.
func (h *history) checkActivity(t *testing.T, path string) {
	t.Helper()
	s := open(t, path, Options{})
	for i := range 3 {
		id := fmt.Sprintf("ses-%d", i)
		v, err := s.Get(t.Context(), session.ID(id))
		if err != nil {
			t.Fatal(err)
		}
		got := strconv.Itoa(int(v.LastAccessed.Sub(moment(0)) / time.Microsecond))
		if got != or0(h.acked[id]) && got != h.tried[id] {
			t.Errorf("after the crash %s has the activity %s; acknowledged was %s and under way %q", id, got, h.acked[id], h.tried[id])
		}
		h.acked[id] = got
	}
	clear(h.tried)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestKillAtEveryStepKeepsWrittenActivity(t *testing.T) {
	t.Parallel()
	for _, at := range append(steps(), stepNoted, stepNotedDurable) {
		for _, nth := range []int{7, 16} { // a child that begins comes five times to a step of the file before it notes activity
			t.Run(fmt.Sprintf("%s %d", at, nth), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "sessions.json")
				h := newHistory()
				h.uses = true
				h.run(t, path, fmt.Sprintf("%s %d", at, nth), 0)
				if !h.opened || h.lines == 0 {
					t.Fatal("the child was killed before it recorded activity: this test tests nothing")
				}
				h.checkActivity(t, path)
				h.run(t, path, "", 30)
				h.checkActivity(t, path)
			})
		}
	}
}
