package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/waittest"
)

// scriptedAdmission refuses while it is full, and records the reported rejections.
type scriptedAdmission struct {
	mu       sync.Mutex
	full     bool
	rejected []session.Code
}

func (d *scriptedAdmission) setFull(full bool) { d.mu.Lock(); defer d.mu.Unlock(); d.full = full }

func (d *scriptedAdmission) Admit(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return session.Errorf(session.CodePressure, "host memory at 96 %%, critical from 95 %%").After(time.Minute)
	}
	return nil
}

func (d *scriptedAdmission) recordRejection(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rejected = append(d.rejected, session.CodeOf(err))
}

func fixtureWithAdmission(t *testing.T) (*fixture, *scriptedAdmission) {
	t.Helper()
	d := &scriptedAdmission{}
	return newFixture(t, func(o *lifecycle.Options) { o.Admission, o.Sink, o.MaxSessions = d, rejections(d.recordRejection), 3 }), d
}

func TestPressureRefusesCreateStartAndWake(t *testing.T) {
	t.Parallel()
	h, d := fixtureWithAdmission(t)
	stopped, _ := h.Make(lifecycle.Request{})
	if _, err := h.do(h.Stop, stopped.ID); err != nil {
		t.Fatal(err)
	}
	before := h.stored(stopped.ID)
	d.setFull(true)
	_, err := h.Create(t.Context(), lifecycle.Request{})
	wantCode(t, err, session.CodePressure, "create")
	if failure, _ := errors.AsType[*session.Failure](err); failure.RetryAfter != time.Minute || !strings.Contains(failure.Message, "96 %") {
		t.Errorf("got %+v, want the reason and when to try again", failure)
	}
	_, err = h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "new"})
	wantCode(t, err, session.CodePressure, "create with a new key")
	_, err = h.Start(t.Context(), stopped.ID)
	wantCode(t, err, session.CodePressure, "start of a stopped session")
	_, err = h.Restart(t.Context(), stopped.ID)
	wantCode(t, err, session.CodePressure, "restart of a stopped session")
	if diff := cmp.Diff(before, h.stored(stopped.ID)); diff != "" {
		t.Errorf("a refused start has changed the session (-want +got):\n%s", diff)
	}
	if page, err := h.List(t.Context(), session.Query{}); err != nil || len(page.Sessions) != 1 {
		t.Errorf("there are %d sessions (%v), want the earlier one only", len(page.Sessions), err)
	}
	want := []session.Code{session.CodePressure, session.CodePressure, session.CodePressure, session.CodePressure}
	if diff := cmp.Diff(want, d.rejected); diff != "" {
		t.Errorf("reported rejections (-want +got):\n%s", diff)
	}
	d.setFull(false)
	if _, err := h.do(h.Start, stopped.ID); err != nil {
		t.Errorf("start after the host has recovered: %v", err)
	}
	h.Make(lifecycle.Request{})
}

func TestPressureKeepsSessionsThatOccupyASlot(t *testing.T) {
	t.Parallel()
	h, d := fixtureWithAdmission(t)
	s, _ := h.Make(lifecycle.Request{IdempotencyKey: "known"})
	d.setFull(true)
	if _, err := h.do(h.Start, s.ID); err != nil {
		t.Errorf("start of a running session: %v", err)
	}
	if _, err := h.do(h.Restart, s.ID); err != nil {
		t.Errorf("restart of a running session: %v", err)
	}
	again, err := h.Create(t.Context(), lifecycle.Request{IdempotencyKey: "known"})
	if err != nil || !again.Replayed {
		t.Errorf("repeated create: got %v, want the session of the first", err)
	}
	if _, err := h.do(h.Stop, s.ID); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := h.do(h.Delete, s.ID); err != nil {
		t.Errorf("delete: %v", err)
	}
	if len(d.rejected) != 0 {
		t.Errorf("%v were refused, want none", d.rejected)
	}
}

func TestFailedServerIsRestartedUnderPressure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &scriptedAdmission{}
		h := monitored(t, func(o *lifecycle.Options) { o.Admission = d })
		s, _ := h.Make(lifecycle.Request{})
		d.setFull(true)
		h.Engine.Crash(s.ContainerName, 3, false)
		h.waitFor(t, s.ID, "restarted", func(now session.Session, v lifecycle.Health) bool { return now.RestartCount == 1 && isUp(now, v) })
	})
}

func TestTakenOverOperationIsNotAdmittedAgain(t *testing.T) {
	t.Parallel()
	h, d := fixtureWithAdmission(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	release := make(chan struct{})
	h.Engine.Script(runtimetest.OpCreate, runtimetest.Step{Until: release})
	issued, err := h.Create(t.Context(), lifecycle.Request{})
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close(ctx) // interrupted, but recorded
	close(release)
	d.setFull(true)
	successor := h.Process()
	defer func() { _ = successor.Close(t.Context()) }()
	id := issued.Session().ID
	waittest.True(t, "the create is completed", func() bool {
		_ = successor.Reconcile(t.Context())
		return h.stored(id).Status == session.Running
	})
}

func TestWakeChecksAdmission(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &scriptedAdmission{}
		h := idleFixture(t, func(o *lifecycle.Options) { o.Admission = d })
		s, _ := h.Make(lifecycle.Request{})
		h.Clock.Advance(11 * time.Minute)
		h.waitFor(t, s.ID, "stopped", isStopped)
		d.setFull(true)
		wantCode(t, h.Wake(t.Context(), s.ID), session.CodePressure, "wake")
		d.setFull(false)
		if err := h.Wake(t.Context(), s.ID); err != nil {
			t.Errorf("wake after the host has recovered: %v", err)
		}
	})
}

func TestLimitReachedReportsRetryAfter(t *testing.T) {
	t.Parallel()
	h, d := fixtureWithAdmission(t)
	for range 3 {
		h.Make(lifecycle.Request{})
	}
	_, err := h.Create(t.Context(), lifecycle.Request{})
	failure, _ := errors.AsType[*session.Failure](err)
	want := "3 of 3 sessions running; stop or delete one, or raise MAX_CONCURRENT_SESSIONS"
	if failure == nil || failure.Code != session.CodeLimit || failure.Message != want || failure.RetryAfter != 30*time.Second {
		t.Errorf("got %+v, want %q and when to try again", failure, want)
	}
	if diff := cmp.Diff([]session.Code{session.CodeLimit}, d.rejected); diff != "" {
		t.Errorf("reported rejections (-want +got):\n%s", diff)
	}
}
