package lifecycle_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/waittest"
)

// monitored returns a fixture with short intervals between health checks.
func monitored(t *testing.T, change ...func(*lifecycle.Options)) *fixture {
	t.Helper()
	h := newFixture(t, append([]func(*lifecycle.Options){func(o *lifecycle.Options) {
		o.Health = lifecycle.HealthOptions{
			CheckEvery: 20 * time.Millisecond, Timeout: time.Second, Threshold: 3, MaxRestarts: 3, RestartDelay: 10 * time.Millisecond,
		}
		o.StartTimeout, o.StopTimeout = 5*time.Second, 200*time.Millisecond
	}}, change...)...)
	h.runManager(t)
	// Earlier events would be missed.
	waittest.True(t, "the engine's events are received", h.Engine.Watched)
	return h
}

// runManager runs the manager until the test ends, or stop is called.
func (h *fixture) runManager(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	m := h.Manager
	go func() { done <- m.Run(ctx, nil) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// waitFor waits until a session and its health fulfil a condition.
func (h *fixture) waitFor(t *testing.T, id session.ID, what string, want func(session.Session, lifecycle.Health) bool) session.Session {
	t.Helper()
	var s session.Session
	waittest.Until(t, what, func() error {
		s = h.stored(id)
		if health, _ := h.Health(id); !want(s, health) {
			return fmt.Errorf("the session is %+v, its health %+v", s, health)
		}
		return nil
	})
	return s
}

func isUp(s session.Session, h lifecycle.Health) bool {
	return s.Status == session.Running && s.Operation == nil && h.State == lifecycle.Healthy
}

func TestExitedServerIsRestarted(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*fixture, session.Session){
		"crashed":       func(h *fixture, s session.Session) { h.Engine.Crash(s.ContainerName, 1, false) },
		"out of memory": func(h *fixture, s session.Session) { h.Engine.Crash(s.ContainerName, 137, true) },
		"removed":       func(h *fixture, s session.Session) { h.Engine.RemoveExternally(s.ContainerName) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := monitored(t)
				s, token := h.Make(lifecycle.Request{})
				harm(h, s)
				got := h.waitFor(t, s.ID, "restarted", func(now session.Session, v lifecycle.Health) bool { return now.RestartCount == 1 && isUp(now, v) })
				if got.Token.Digest != s.Token.Digest || got.ContainerName != s.ContainerName || got.LastError != "" {
					t.Errorf("got %+v after the restart, want an unchanged token and address: %+v", got, s)
				}
				route, ok := h.Routes.Get(s.ID)
				if !ok || !route.Running || !h.Keys.Matches(token, route.Token.Digest) {
					t.Errorf("the route after the restart is %+v", route)
				}
			})
		})
	}
}

func TestHungServerIsRestartedAtFailureThreshold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{Latency: 2 * time.Millisecond})
		h.waitFor(t, s.ID, "checked", func(now session.Session, v lifecycle.Health) bool { return v.HealthyChecks > 2 && isUp(now, v) })
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{Mute: true})
		h.waitFor(t, s.ID, "unhealthy", func(_ session.Session, v lifecycle.Health) bool {
			return v.State == lifecycle.Unhealthy && v.Failures > 0
		})
		h.waitFor(t, s.ID, "being restarted", func(now session.Session, v lifecycle.Health) bool {
			return now.RestartCount == 1 && now.Operation != nil && v.State == lifecycle.Restarting && strings.Contains(now.LastError, "does not answer")
		})
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{})
		h.waitFor(t, s.ID, "healthy again", isUp)
		health, _ := h.Health(s.ID)
		if health.FailedChecks < 3 || health.TotalChecks < health.FailedChecks+health.HealthyChecks || health.AverageResponse <= 0 || len(health.History) == 0 {
			t.Errorf("got %+v", health)
		}
	})
}

func TestRestartsStopWhenBudgetIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{Exits: true, ExitCode: 3})
		h.Engine.Crash(s.ContainerName, 3, false)
		got := h.waitFor(t, s.ID, "given up", func(now session.Session, v lifecycle.Health) bool {
			return now.Status == session.Error && now.Operation == nil && now.RestartCount == 3 && v.State == lifecycle.Failed &&
				strings.Contains(now.LastError, "given up")
		})
		if !strings.Contains(got.LastError, "exited with code 3") {
			t.Errorf("the last error is %q, want the exit code of the server", got.LastError)
		}
		if err := h.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := h.stored(s.ID); now.Revision != got.Revision {
			t.Errorf("a session without restarts left is %+v after a reconciliation, want it unchanged", now)
		}
		// A manual restart refills the budget.
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{})
		w, err := h.Restart(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if now, err := w.Wait(t.Context()); err != nil || now.RestartCount != 0 || now.Status != session.Running {
			t.Errorf("after a manual restart: got %+v, %v", now, err)
		}
	})
}

func TestHealthyPeriodRefillsRestartBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t, func(o *lifecycle.Options) { o.Health.HealthyPeriod = time.Minute })
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Crash(s.ContainerName, 1, false)
		h.waitFor(t, s.ID, "restarted", func(now session.Session, v lifecycle.Health) bool { return now.RestartCount == 1 && isUp(now, v) })
		h.Clock.Advance(2 * time.Minute)
		h.waitFor(t, s.ID, "forgiven", func(now session.Session, v lifecycle.Health) bool { return now.RestartCount == 0 && isUp(now, v) })
	})
}

// Without the engine the cause of a failed probe is not known, so nothing is restarted.
func TestNoRestartsDuringEngineOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t)
		s, _ := h.Make(lifecycle.Request{})
		well, _ := h.Make(lifecycle.Request{})
		h.Engine.SetDown(true)
		h.waitFor(t, well.ID, "unknown, although it answers", func(_ session.Session, v lifecycle.Health) bool {
			return v.State == lifecycle.Unknown && strings.Contains(v.Reason, "answers") && v.Failures == 0
		})
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{Mute: true})
		h.waitFor(t, s.ID, "unknown", func(_ session.Session, v lifecycle.Health) bool {
			return v.State == lifecycle.Unknown && v.TotalChecks > 4
		})
		if now := h.stored(s.ID); now.Status != session.Running || now.RestartCount != 0 {
			t.Errorf("got %+v, want it unchanged", now)
		}
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{})
		h.Engine.SetDown(false)
		h.waitFor(t, s.ID, "healthy", isUp)
		if now := h.waitFor(t, well.ID, "healthy", isUp); now.RestartCount != 0 {
			t.Errorf("got %+v, want no restart", now)
		}
	})
}

func TestPausedContainerIsNotRestarted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{Mute: true})
		h.Engine.SetState(s.ContainerName, session.StatePaused)
		h.waitFor(t, s.ID, "unhealthy", func(_ session.Session, v lifecycle.Health) bool {
			return v.State == lifecycle.Unhealthy && strings.Contains(v.Reason, "paused") && v.Failures > 5
		})
		if now := h.stored(s.ID); now.RestartCount != 0 {
			t.Errorf("got %+v, want no restart", now)
		}
		h.Engine.Behave(s.ContainerName, runtimetest.Behaviour{})
		h.Engine.SetState(s.ContainerName, session.StateRunning)
		h.waitFor(t, s.ID, "healthy", isUp)
	})
}

// A restart that was in progress when the process ended is completed by the next one.
func TestInterruptedRestartIsResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t, func(o *lifecycle.Options) {
			o.Health = lifecycle.HealthOptions{CheckEvery: 20 * time.Millisecond, MaxRestarts: 3, RestartDelay: time.Hour}
		})
		stop := h.runManager(t)
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Crash(s.ContainerName, 1, false)
		h.waitFor(t, s.ID, "about to be restarted", func(now session.Session, _ lifecycle.Health) bool { return now.Operation != nil })
		stop()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.Close(ended); err != nil {
			t.Fatal(err)
		}
		h.Manager = h.Process()
		h.runManager(t)
		h.waitFor(t, s.ID, "restarted", func(now session.Session, v lifecycle.Health) bool { return now.RestartCount == 1 && isUp(now, v) })
	})
}

func TestStopPreemptsDelayedRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t, func(o *lifecycle.Options) { o.Health.RestartDelay = time.Hour })
		s, _ := h.Make(lifecycle.Request{})
		h.Engine.Crash(s.ContainerName, 1, false)
		h.waitFor(t, s.ID, "about to be restarted", func(now session.Session, _ lifecycle.Health) bool { return now.Operation != nil })
		w, err := h.Stop(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if now, err := w.Wait(t.Context()); err != nil || now.Status != session.Stopped || now.RestartCount != 0 {
			t.Errorf("got %+v, %v; want it stopped", now, err)
		}
		if _, ok := h.Health(s.ID); ok {
			t.Error("a stopped session has a health record")
		}
	})
}

// An engine that recovers with every container down is not overloaded, and every session runs again.
func TestTenSessionsRecoverAfterEngineRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t)
		var all []session.Session
		for range 10 {
			s, _ := h.Make(lifecycle.Request{})
			all = append(all, s)
		}
		h.Engine.SetDown(true)
		for _, s := range all {
			h.Engine.Crash(s.ContainerName, 137, false)
		}
		<-time.After(200 * time.Millisecond)
		for _, s := range all {
			if now := h.stored(s.ID); now.RestartCount != 0 || now.Status != session.Running {
				t.Errorf("during the engine's outage: got %+v", now)
			}
		}
		h.Engine.SetDown(false)
		for _, s := range all {
			now := h.waitFor(t, s.ID, "running again", isUp)
			if now.RestartCount != 0 || now.StopReason != "" || !hasStopped(now, "the engine was stopped or restarted") {
				t.Errorf("got %+v, want it started again without a restart that counts", now)
			}
		}
	})
}

// hasStopped reports whether a session's timeline has a stop with this reason.
func hasStopped(s session.Session, reason string) bool {
	return slices.ContainsFunc(s.Timeline, func(m session.Event) bool { return m.Type == session.EventStopped && m.Reason == reason })
}

func TestHealthsListsEverySession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t)
		for range 3 {
			h.Make(lifecycle.Request{})
		}
		if got := h.Healths(); len(got) != 3 || got[0].ID > got[1].ID {
			t.Errorf("got %+v", got)
		}
		for _, s := range h.Healths() {
			w, err := h.Delete(t.Context(), s.ID)
			if err == nil {
				_, err = w.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(fmt.Errorf("delete: %w", err))
			}
		}
		if got := h.Healths(); len(got) != 0 {
			t.Errorf("got %+v after every session was deleted", got)
		}
	})
}

// Operators get notices of failures, restarts and lack of memory.
func TestFailureAndRestartNoticesAreSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var received []lifecycle.Notice
		h := monitored(t, func(o *lifecycle.Options) {
			o.Health.MaxRestarts = 1
			o.Sink = notices(func(n lifecycle.Notice) { mu.Lock(); received = append(received, n); mu.Unlock() })
		})
		s, _ := h.Make(lifecycle.Request{Owner: "ann"})
		h.Engine.Crash(s.ContainerName, 137, true)
		h.waitFor(t, s.ID, "restarted", func(now session.Session, v lifecycle.Health) bool { return now.RestartCount == 1 && isUp(now, v) })
		h.Engine.Crash(s.ContainerName, 1, false)
		h.waitFor(t, s.ID, "given up", func(now session.Session, v lifecycle.Health) bool { return v.State == lifecycle.Failed })
		waittest.True(t, "four notices arrive", func() bool { mu.Lock(); defer mu.Unlock(); return len(received) == 4 })
		mu.Lock()
		defer mu.Unlock()
		for i, want := range []struct {
			what  session.EventType
			cause lifecycle.Cause
		}{
			{session.EventOutOfMemory, lifecycle.CauseMemory}, {session.EventUnhealthy, lifecycle.CauseMemory}, {session.EventRestarted, ""}, {session.EventFailed, lifecycle.CauseExited},
		} {
			if received[i].Type != want.what || received[i].Cause != want.cause || received[i].Session != s.ID || received[i].Owner != "ann" || received[i].At.IsZero() {
				t.Errorf("notice %d is %+v, want %v", i+1, received[i], want)
			}
		}
	})
}

func TestCancelEndsOperationInProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		h.Engine.Behave("", runtimetest.Behaviour{Mute: true})
		issued, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		id := issued.Session().ID
		w, err := h.Cancel(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := w.Wait(t.Context()); err != nil || s.Status != session.Stopped {
			t.Errorf("got %+v, %v; want it stopped", s, err)
		}
		if _, err := issued.Wait(t.Context()); session.CodeOf(err) != session.CodeCanceled {
			t.Errorf("the create: got %v, want it canceled", err)
		}
		if _, err := h.Cancel(t.Context(), id); session.CodeOf(err) != session.CodeConflict {
			t.Errorf("with nothing in progress: got %v, want a conflict", err)
		}
	})
}

// A forced delete preempts a stop that never ends.
func TestForcePreemptsEveryOperation(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(o *lifecycle.Options) { o.StopTimeout = time.Hour })
	h.Engine.Behave("", runtimetest.Behaviour{Stubborn: true})
	s, _ := h.Make(lifecycle.Request{})
	if _, err := h.Stop(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Delete(t.Context(), s.ID); session.CodeOf(err) != session.CodeInProgress {
		t.Errorf("a delete without force: got %v, want the stop in progress", err)
	}
	w, err := h.Force(t.Context(), s.ID, session.OpDelete)
	if err == nil {
		_, err = w.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Get(t.Context(), s.ID); session.CodeOf(err) != session.CodeNotFound {
		t.Errorf("got %v, want it deleted", err)
	}
}
