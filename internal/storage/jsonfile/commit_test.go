package jsonfile

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"berth/internal/session"
)

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
				if _, err := s.Create(t.Context(), sample(id), session.Quota{}); err != nil {
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

func TestChangeIsInvisibleUntilDurable(t *testing.T) {
	t.Parallel()
	var disk faults
	s := open(t, file(t), Options{fault: disk.reach})
	reached, release := hold(&disk)
	var all sync.WaitGroup
	all.Go(func() { _, _ = s.Create(t.Context(), sample("ses-a"), session.Quota{}) })
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

func TestCancelledQueuedChangeIsWithdrawn(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s := open(t, path, Options{fault: disk.reach})
	reached, release := hold(&disk)
	var writing, leaving sync.WaitGroup

	// The first one is being written when its caller leaves: only the disk can tell, and the answer is true.
	ctx, cancel := context.WithCancel(t.Context())
	writing.Go(func() {
		if _, err := s.Create(ctx, sample("ses-a"), session.Quota{}); err != nil {
			t.Errorf("create whose caller left during the write: got %v, want its success", err)
		}
	})
	<-reached
	leaving.Go(func() {
		_, err := s.Create(ctx, sample("ses-b"), session.Quota{})
		if !errors.Is(err, context.Canceled) || session.CodeOf(err) != session.CodeCanceled {
			t.Errorf("create whose caller left the queue: got %v, want the context's error", err)
		}
	})
	waitForQueue(t, s, 1)
	cancel()
	leaving.Wait() // while the disk still does not answer

	late, cancelLate := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancelLate()
	_, err := s.Create(late, sample("ses-c"), session.Quota{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("create whose time was up in the queue: got %v, want the context's error", err)
	}
	wantUnavailable(t, err, "create whose time was up in the queue")
	release()
	writing.Wait()
	wantAgreement(t, s, path, "ses-a")
}

func TestDeleteDropsActivityBeforeRecreate(t *testing.T) {
	t.Parallel()
	var disk faults
	path := file(t)
	s := open(t, path, Options{fault: disk.reach})
	create(t, s, "ses-a")
	if err := s.Touch(t.Context(), map[session.ID]time.Time{"ses-a": time.Unix(1770000100, 0)}); err != nil {
		t.Fatal(err)
	}
	reached, release := hold(&disk)
	var all sync.WaitGroup
	all.Go(func() { _, _ = s.Create(t.Context(), sample("ses-b"), session.Quota{}) })
	<-reached
	if err := s.Touch(t.Context(), map[session.ID]time.Time{"ses-a": time.Unix(1770000200, 0)}); err != nil {
		t.Fatal(err)
	}
	all.Go(func() { wantDone(t, s.Delete(t.Context(), "ses-a", 1)) })
	waitForQueue(t, s, 1)
	all.Go(func() { // in the same write as the delete
		_, err := s.Create(t.Context(), sample("ses-a"), session.Quota{})
		wantDone(t, err)
	})
	waitForQueue(t, s, 2)
	release()
	all.Wait()
	wantAgreement(t, s, path, "ses-a", "ses-b")
	if got, err := s.Get(t.Context(), "ses-a"); err != nil || !got.LastAccessed.Equal(sample("ses-a").LastAccessed) {
		t.Errorf("the new session was last accessed %s, %v; want its own time", got.LastAccessed, err)
	}
}

func wantDone(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
