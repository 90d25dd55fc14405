package jsonfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

// faults is a disk's misfortune, to be changed while a store is open.
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
		if strings.HasPrefix(n.Name(), ".") {
			t.Errorf("%s is left over", n.Name())
		}
	}
}

func TestFailureAtEveryStepChangesNothingAndIsReported(t *testing.T) {
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
				_, err := s.Create(t.Context(), sample("ses-c"), 0)
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
				t.Errorf("ping when the disk is well again: got %v, want nil", err)
			}
			create(t, s, "ses-c")
			wantAgreement(t, s, path, "ses-a", "ses-b", "ses-c")
		})
	}
}

func TestFailureFailsEveryCallerOfTheBatch(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s := open(t, path, Options{fault: disk.reach})
	create(t, s, "ses-a")
	disk.set(failAt(stepWritten, syscall.EIO))

	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := s.Create(t.Context(), sample(session.ID("ses-"+string(rune('b'+i)))), 0)
			wantUnavailable(t, err, "one of many creates on a broken disk")
		})
	}
	all.Wait()
	wantAgreement(t, s, path, "ses-a")
}

func TestMemoryFollowsADiskThatCannotGoBack(t *testing.T) {
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
	_, err := s.Create(t.Context(), sample("ses-b"), 0)
	wantUnavailable(t, err, "a create that may not be durable")
	wantAgreement(t, s, path, "ses-a", "ses-b")
	disk.set(nil)
	create(t, s, "ses-c")
	wantAgreement(t, s, path, "ses-a", "ses-b", "ses-c")
}

func TestActivityOutlivesAFullDisk(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s, err := Open(path, Options{fault: disk.reach})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "ses-a")
	disk.set(failAt(stepWritten, syscall.ENOSPC))
	at := time.Unix(1770000100, 0)
	if err := s.Touch(t.Context(), map[session.ID]time.Time{"ses-a": at}); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, s.submit(t.Context(), func(*draft) (bool, error) { return true, nil }), "a write to a full disk")
	if got, err := s.Get(t.Context(), "ses-a"); err != nil || !got.LastAccessed.Equal(at) {
		t.Errorf("after a failed write: last accessed %s, %v; want %s", got.LastAccessed, err, at)
	}
	wantUnavailable(t, s.Close(), "close with activity that cannot be written")
	if got := onDisk(t, path).sessions["ses-a"].session.LastAccessed; got.Equal(at) {
		t.Error("the activity was written; this test cannot fail")
	}
	open(t, path, Options{})
}

// hold makes the next write wait, and says when it does.
func hold(disk *faults) (reached chan struct{}, release func()) {
	reached, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	disk.set(func(at step) error {
		if at == stepCreated {
			once.Do(func() { close(reached); <-gate })
		}
		return nil
	})
	return reached, func() { close(gate) }
}

// waitForQueue waits until so many changes wait to be written.
func waitForQueue(t *testing.T, s *Store, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		s.mu.Lock()
		waiting := len(s.queue)
		s.mu.Unlock()
		if waiting == n {
			return
		}
		<-tick.C
	}
	t.Fatalf("there are not %d changes in the queue after 10 s", n)
}

func TestConcurrentCreatesShareOneWrite(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s := open(t, path, Options{fault: disk.reach})
	before := disk.reached(stepDurable)
	reached, release := hold(&disk)
	var all sync.WaitGroup
	make20 := func(from, to int) {
		for i := from; i < to; i++ {
			all.Go(func() {
				id := session.ID("ses-" + string(rune('a'+i)))
				if _, err := s.Create(t.Context(), sample(id), 0); err != nil {
					t.Errorf("create: %v", err)
				}
				if _, ok := onDisk(t, path).sessions[id]; !ok {
					t.Errorf("create of %s has returned, but the file does not have it", id)
				}
			})
		}
	}
	make20(0, 1)
	<-reached
	make20(1, 20)
	waitForQueue(t, s, 19)
	release()
	all.Wait()
	if got := disk.reached(stepDurable) - before; got != 2 {
		t.Errorf("20 creates, 19 of them during the first one's write, took %d writes, want 2", got)
	}
}

func TestNobodySeesAChangeBeforeItIsDurable(t *testing.T) {
	t.Parallel()
	var disk faults
	s := open(t, file(t), Options{fault: disk.reach})
	reached, release := hold(&disk)
	var all sync.WaitGroup
	all.Go(func() { _, _ = s.Create(t.Context(), sample("ses-a"), 0) })
	<-reached
	if _, err := s.Get(t.Context(), "ses-a"); session.CodeOf(err) != session.CodeNotFound {
		t.Errorf("get while the session is being written: got %v, want not found, and at once", err)
	}
	release()
	all.Wait()
	if _, err := s.Get(t.Context(), "ses-a"); err != nil {
		t.Errorf("get after the write: %v", err)
	}
}

func TestCallerWhoLeavesTheQueueChangesNothing(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s := open(t, path, Options{fault: disk.reach})
	reached, release := hold(&disk)
	var writing, leaving sync.WaitGroup

	// The first one is being written when its caller leaves: only the disk can tell, and the answer is true.
	ctx, cancel := context.WithCancel(t.Context())
	writing.Go(func() {
		if _, err := s.Create(ctx, sample("ses-a"), 0); err != nil {
			t.Errorf("create whose caller left during the write: got %v, want its success", err)
		}
	})
	<-reached
	leaving.Go(func() {
		_, err := s.Create(ctx, sample("ses-b"), 0)
		if !errors.Is(err, context.Canceled) || session.CodeOf(err) != session.CodeCanceled {
			t.Errorf("create whose caller left the queue: got %v, want the context's error", err)
		}
	})
	waitForQueue(t, s, 1)
	cancel()
	leaving.Wait() // while the disk still does not answer

	late, cancelLate := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancelLate()
	_, err := s.Create(late, sample("ses-c"), 0)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("create whose time was up in the queue: got %v, want the context's error", err)
	}
	wantUnavailable(t, err, "create whose time was up in the queue")
	release()
	writing.Wait()
	wantAgreement(t, s, path, "ses-a")
}
