package lifecycle_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

// The session that is to be stopped may be the one that fills the store's disk.
func TestUnrecordableStopStopsContainer(t *testing.T) {
	t.Parallel()
	inBubble(t, &scriptedProber{}, func(*lifecycle.Options) {}, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		defer runInBubble(t, h.Manager)()
		s, _ := h.Make(lifecycle.Request{})
		synctest.Wait()
		full := session.Errorf(session.CodeStoreUnavailable, "the disk is full")
		h.Store.Fail("Update", full)
		isStopped := func(when string) {
			t.Helper()
			if c, err := h.Engine.Inspect(t.Context(), s.ContainerName); err != nil || c.State != session.StateStopped {
				t.Errorf("%s the container is %s, %v; want it stopped", when, c.State, err)
			}
			if r, known := h.Routes.Get(s.ID); known && r.Address != "" {
				t.Errorf("%s the route still has a server", when)
			}
		}
		w, err := h.Stop(t.Context(), s.ID)
		if err != nil {
			t.Fatalf("stop: %v", err)
		}
		_, err = w.Wait(t.Context())
		if session.CodeOf(err) != session.CodeStoreUnavailable || !strings.Contains(session.MessageOf(err), "is stopped, but that could not be recorded: the disk is full") {
			t.Errorf("got %v, want an error that names what was done and what was not", err)
		}
		isStopped("after the stop")
		<-time.After(5 * time.Minute)
		isStopped("5 minutes later")
		if _, err := h.Start(t.Context(), s.ID); session.CodeOf(err) != session.CodeInProgress {
			t.Errorf("start meanwhile: got %v, want it refused while the stop is not recorded", err)
		}

		h.Store.Fail("Update", nil)
		<-time.After(2 * time.Second)
		synctest.Wait()
		got, err := h.Get(t.Context(), s.ID)
		if err != nil || got.Status != session.Stopped || got.Operation != nil || got.LastError != "" {
			t.Errorf("when the store can be written again the record is %+v, %v; want it stopped", got, err)
		}
		<-time.After(5 * time.Minute)
		isStopped("5 minutes after the record")
		if w, err = h.Start(t.Context(), s.ID); err == nil {
			_, err = w.Wait(t.Context())
		}
		if err != nil {
			t.Errorf("start: %v", err)
		}
	})
}

// A forced operation that preempts an unrecorded stop, and cannot be recorded itself, does not undo the stop.
func TestUnrecordedStopSurvivesFailedForcedOperation(t *testing.T) {
	t.Parallel()
	inBubble(t, &scriptedProber{}, func(*lifecycle.Options) {}, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		defer runInBubble(t, h.Manager)()
		s, _ := h.Make(lifecycle.Request{})
		synctest.Wait()
		h.Store.Fail("Update", session.Errorf(session.CodeStoreUnavailable, "the disk is full"))
		w, err := h.Stop(t.Context(), s.ID)
		if err != nil {
			t.Fatalf("stop: %v", err)
		}
		_, _ = w.Wait(t.Context())
		for range 2 {
			if _, err := h.Force(t.Context(), s.ID, session.OpDelete); session.CodeOf(err) != session.CodeStoreUnavailable {
				t.Errorf("forced delete: got %v, want code %s", err, session.CodeStoreUnavailable)
			}
			<-time.After(5 * time.Minute)
		}
		h.Store.Fail("Update", nil)
		<-time.After(5 * time.Minute)
		synctest.Wait()
		got, err := h.Get(t.Context(), s.ID)
		c, inspect := h.Engine.Inspect(t.Context(), s.ContainerName)
		if err != nil || got.Status != session.Stopped || got.Operation != nil || inspect != nil || c.State != session.StateStopped {
			t.Errorf("got %+v, %v with the container %s, %v; want it stopped", got, err, c.State, inspect)
		}
		w, err = h.Force(t.Context(), s.ID, session.OpDelete)
		if err == nil {
			_, err = w.Wait(t.Context())
		}
		if err != nil {
			t.Errorf("forced delete when the store can be written again: %v", err)
		}
	})
}

// A delete is irreversible: it is recorded before it acts.
func TestUnrecordableDeleteRemovesNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, &scriptedProber{}, func(*lifecycle.Options) {}, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		s, _ := h.Make(lifecycle.Request{})
		h.Store.Fail("Update", session.Errorf(session.CodeStoreUnavailable, "the disk is full"))
		if _, err := h.Delete(t.Context(), s.ID); session.CodeOf(err) != session.CodeStoreUnavailable {
			t.Errorf("got %v, want %s", err, session.CodeStoreUnavailable)
		}
		if c, err := h.Engine.Inspect(t.Context(), s.ContainerName); err != nil || c.State != session.StateRunning {
			t.Errorf("the container is %s, %v; want it running", c.State, err)
		}
		h.Store.Fail("Update", nil)
	})
}
