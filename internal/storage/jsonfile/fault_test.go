package jsonfile

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

// faults injects failures of the disk; they can be changed while a store is open.
type faults struct {
	mu    sync.Mutex
	at    func(step) error
	count map[step]int
}

func (f *faults) reach(s step) error {
	f.mu.Lock()
	at := f.at
	if f.count == nil {
		f.count = map[step]int{}
	}
	f.count[s]++
	f.mu.Unlock()
	if at == nil {
		return nil
	}
	return at(s)
}

func (f *faults) set(at func(step) error) {
	f.mu.Lock()
	f.at = at
	f.mu.Unlock()
}

func (f *faults) reached(s step) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[s]
}

func failAt(s step, err error) func(step) error {
	return func(reached step) error {
		if reached == s {
			return err
		}
		return nil
	}
}

// failAll makes every write fail, that of the file as well as that of the activity log.
func failAll(err error) func(step) error { return func(step) error { return err } }

func wantUnavailable(t *testing.T, err error, why string) {
	t.Helper()
	if session.CodeOf(err) != session.CodeStoreUnavailable {
		t.Errorf("%s: got %v, want a CodeStoreUnavailable error", why, err)
	}
}

// wantAgreement checks that memory is what the file holds, and that nothing is left beside the file.
func wantAgreement(t *testing.T, s *Store, path string, want ...session.ID) {
	t.Helper()
	page, err := s.List(t.Context(), session.Query{})
	if err != nil {
		t.Fatal(err)
	}
	disk := onDisk(t, path).sessions
	var ids []session.ID
	for _, memory := range page.Sessions {
		ids = append(ids, memory.ID)
		e, ok := disk[memory.ID]
		if !ok {
			t.Errorf("%s is in memory and not in the file", memory.ID)
			continue
		}
		if diff := cmp.Diff(e.session, memory); diff != "" {
			t.Errorf("%s in the file and in memory (-file +memory):\n%s", memory.ID, diff)
		}
	}
	if diff := cmp.Diff(want, ids); diff != "" || len(disk) != len(ids) {
		t.Errorf("there are %d sessions in the file; in memory (-want +got):\n%s", len(disk), diff)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".") || strings.HasSuffix(n.Name(), newSuffix) {
			t.Errorf("%s is left over", n.Name())
		}
	}
}

func TestFailureAtEveryStepIsReportedAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, at := range steps() {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			var disk faults
			path := file(t)
			s := open(t, path, Options{fault: disk.reach})
			a, b := create(t, s, "ses-a"), create(t, s, "ses-b")

			disk.set(failAt(at, syscall.ENOSPC))
			for range 2 { // the second failure finds what the first one left
				_, err := s.Create(t.Context(), sample("ses-c"), session.Quota{})
				wantUnavailable(t, err, "create on a full disk")
				if !strings.Contains(session.MessageOf(err), "full") {
					t.Errorf("the message is %q, want it to say that the disk is full", session.MessageOf(err))
				}
				changed := a
				changed.Owner = "bob"
				_, err = s.Update(t.Context(), changed, 0)
				wantUnavailable(t, err, "update on a full disk")
				wantUnavailable(t, s.Delete(t.Context(), "ses-b", b.Revision), "delete on a full disk")
				wantUnavailable(t, s.Ping(t.Context()), "ping of a full disk")
				wantAgreement(t, s, path, "ses-a", "ses-b")
			}
			_, err := s.Get(t.Context(), "ses-c")
			if session.CodeOf(err) != session.CodeNotFound {
				t.Errorf("get of a session that could not be written: got %v, want not found", err)
			}

			disk.set(nil)
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("ping after the disk has recovered: got %v, want nil", err)
			}
			create(t, s, "ses-c")
			wantAgreement(t, s, path, "ses-a", "ses-b", "ses-c")
		})
	}
}

func TestFailureFailsWholeBatch(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s := open(t, path, Options{fault: disk.reach})
	create(t, s, "ses-a")
	disk.set(failAt(stepWritten, syscall.EIO))

	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := s.Create(t.Context(), sample(session.ID("ses-"+string(rune('b'+i)))), session.Quota{})
			wantUnavailable(t, err, "one of many creates on a broken disk")
		})
	}
	all.Wait()
	wantAgreement(t, s, path, "ses-a")
}

func TestMemoryMatchesFileAfterFailedRollback(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s := open(t, path, Options{fault: disk.reach})
	create(t, s, "ses-a")
	disk.set(func(reached step) error {
		if reached != stepReplaced {
			return nil
		}
		return errors.Join(syscall.EIO, os.Remove(path+previousSuffix))
	})
	_, err := s.Create(t.Context(), sample("ses-b"), session.Quota{})
	wantUnavailable(t, err, "a create that may not be durable")
	wantAgreement(t, s, path, "ses-a", "ses-b")
	disk.set(nil)
	create(t, s, "ses-c")
	wantAgreement(t, s, path, "ses-a", "ses-b", "ses-c")
}

func TestActivityStaysPendingOnFullDisk(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s, err := Open(path, Options{fault: disk.reach})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "ses-a")
	disk.set(failAll(syscall.ENOSPC))
	at := time.Unix(1770000100, 0)
	if err := s.Touch(t.Context(), map[session.ID]time.Time{"ses-a": at}); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, s.submit(t.Context(), func(*draft) (effect, error) { return grows, nil }), "a write to a full disk")
	if got, err := s.Get(t.Context(), "ses-a"); err != nil || !got.LastAccessed.Equal(at) {
		t.Errorf("after a failed write: last accessed %s, %v; want %s", got.LastAccessed, err, at)
	}
	wantUnavailable(t, s.Close(), "close with activity that cannot be written")
	if got := onDisk(t, path).sessions["ses-a"].session.LastAccessed; got.Equal(at) {
		t.Error("the activity was written; this test cannot fail")
	}
	open(t, path, Options{})
}

func TestActivityIsRetriedUntilDiskRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var disk faults
		var log strings.Builder
		path := file(t)
		s := open(t, path, Options{fault: disk.reach, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		create(t, s, "ses-a")
		disk.set(failAll(syscall.ENOSPC))
		at := time.Unix(1770000100, 0)
		if err := s.Touch(t.Context(), map[session.ID]time.Time{"ses-a": at}); err != nil {
			t.Fatal(err)
		}
		before := disk.reached(stepNoted)
		time.Sleep(3 * touchDelay) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if got := disk.reached(stepNoted) - before; got < 2 || got > 3 {
			t.Errorf("in three seconds there were %d tries, want one a second", got)
		}
		disk.set(nil)
		time.Sleep(touchDelay) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if got := onDisk(t, path).sessions["ses-a"].session.LastAccessed; !got.Equal(at) {
			t.Errorf("a second after the disk has recovered the file has %s, want %s", got, at)
		}
		if got := strings.Count(log.String(), "activity not written"); got != 1 {
			t.Errorf("one outage is logged %d times, want once:\n%s", got, log.String())
		}
	})
}
