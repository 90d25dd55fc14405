package lifecycle_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

// Each way in which an engine stops and returns, more often than a server may be restarted: nobody is given up, and nothing
// counts.
func TestRepeatedEngineStopsUseNoRestartBudget(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(h *fixture, container string){
		"it tells of the ends and takes no connections": func(h *fixture, container string) {
			h.Engine.Script(runtimetest.OpPing, runtimetest.Step{Times: -1, Err: errAway})
			h.Engine.StopExternally(container, syscall.SIGTERM, 143, false)
			<-time.After(50 * time.Millisecond) // it stops the others
			h.Engine.SetDown(true)
			h.Engine.ClearScript()
		},
		"it tells of the ends and something in front of it answers still": func(h *fixture, container string) {
			h.Engine.StopExternally(container, syscall.SIGTERM, 143, false)
			<-time.After(50 * time.Millisecond)
			h.Engine.SetDown(true)
		},
		"it tells of nothing": func(h *fixture, container string) {
			h.Engine.SetDown(true)
			h.Engine.Crash(container, 1, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := monitored(t, func(o *lifecycle.Options) { o.Health.RestartDelay = 3 * time.Second }) // long enough for the outage to be seen first
				s, _ := h.Make(lifecycle.Request{})
				for range 5 {
					h.waitFor(t, s.ID, "healthy", isUp)
					end(h, s.ContainerName)
					<-time.After(50 * time.Millisecond)
					h.Engine.SetDown(false)
				}
				now := h.waitFor(t, s.ID, "healthy at the end", func(now session.Session, v lifecycle.Health) bool {
					return isUp(now, v) && now.RestartCount == 0
				})
				if !hasStopped(now, "the engine was stopped or restarted") {
					t.Errorf("got the timeline %v, want the engine named", now.Timeline)
				}
			})
		})
	}
}

// The engine is restarted while no Berth runs.
func TestEngineStopDuringDowntimeUsesNoRestartBudget(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code     int
		restarts int
	}{
		"asked to end":                {143, 0},
		"killed":                      {137, 0},
		"its end was missed":          {255, 0},
		"its server failed by itself": {3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t, func(o *lifecycle.Options) {
					o.Health = lifecycle.HealthOptions{CheckEvery: 20 * time.Millisecond, MaxRestarts: 3, RestartDelay: time.Millisecond}
				})
				s, _ := h.Make(lifecycle.Request{})
				h.abandon(h.Manager)
				h.Routes.Clear()
				h.Engine.Crash(s.ContainerName, test.code, false)
				h.Manager = h.Process()
				h.runManager(t)
				now := h.waitFor(t, s.ID, "healthy", isUp)
				if now.RestartCount != test.restarts {
					t.Errorf("got %d restarts, want %d", now.RestartCount, test.restarts)
				}
				unseen := fmt.Sprintf("stopped while Berth was not running or had no connection to the engine: by the engine, or by hand (exit code %d)", test.code)
				if hasStopped(now, "the engine was stopped or restarted") || hasStopped(now, unseen) != (test.restarts == 0) {
					t.Errorf("got the timeline %v, want it to say what is known and no more", now.Timeline)
				}
			})
		})
	}
}

// Where Berth restarts nothing, the next request brings back what the engine has ended.
func TestRequestWakesSessionStoppedByEngine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t, func(o *lifecycle.Options) { o.Health.MaxRestarts = 0 })
		s, _ := h.Make(lifecycle.Request{})
		h.waitFor(t, s.ID, "healthy", isUp)
		h.Engine.SetDown(true)
		h.Engine.Crash(s.ContainerName, 143, false)
		h.Engine.SetDown(false)
		h.waitFor(t, s.ID, "stopped by the engine", func(now session.Session, v lifecycle.Health) bool {
			route, _ := h.Routes.Get(s.ID)
			return isStopped(now, v) && now.StopReason == session.StopEngine && route.Wakes
		})
		if err := h.Wake(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		if now := h.stored(s.ID); now.Status != session.Running || now.StopReason != "" {
			t.Errorf("got %+v, want it running", now)
		}
	})
}

// What somebody does with the engine's own tools is told apart from what happens to a server.
func TestContainerExitCauseIsReported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(h *fixture, container string)
		want string
		not  string
	}{
		"docker stop": {
			func(h *fixture, c string) { h.Engine.StopExternally(c, syscall.SIGTERM, 143, false) }, "stopped by somebody with access to the engine", "memory",
		},
		"docker kill": {
			func(h *fixture, c string) { h.Engine.StopExternally(c, syscall.SIGKILL, 137, false) }, "stopped by somebody with access to the engine", "memory",
		},
		"docker rm -f": { // that it is gone may be seen before the engine has told who removed it
			func(h *fixture, c string) { h.Engine.StopExternally(c, syscall.SIGKILL, 137, true) }, "the container ", "stopped",
		},
		"out of memory":  {func(h *fixture, c string) { h.Engine.Crash(c, 137, true) }, "ran out of memory", "somebody"},
		"killed":         {func(h *fixture, c string) { h.Engine.Crash(c, 137, false) }, "perhaps because it ran out of memory", "somebody"},
		"ends by itself": {func(h *fixture, c string) { h.Engine.Crash(c, 143, false) }, "ended by itself with code 143", "engine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := monitored(t)
				s, _ := h.Make(lifecycle.Request{})
				h.waitFor(t, s.ID, "healthy", isUp)
				test.end(h, s.ContainerName)
				now := h.waitFor(t, s.ID, "restarted", func(now session.Session, v lifecycle.Health) bool { return now.RestartCount == 1 && isUp(now, v) })
				reason := ""
				for _, m := range now.Timeline {
					if m.Type == session.EventUnhealthy {
						reason = m.Reason
					}
				}
				if !strings.Contains(reason, test.want) || strings.Contains(reason, test.not) {
					t.Errorf("got the reason %q, want %q in it and not %q", reason, test.want, test.not)
				}
			})
		})
	}
}

// A session that waits for its automatic restart says when it is started.
func TestRouteOfRestartingSessionHasStartTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t, func(o *lifecycle.Options) { o.Health.RestartDelay = time.Minute })
		s, _ := h.Make(lifecycle.Request{})
		h.waitFor(t, s.ID, "healthy", isUp)
		if route, _ := h.Routes.Get(s.ID); !route.StartsAt.IsZero() {
			t.Errorf("while it runs: got the route %+v, want no time of a start", route)
		}
		h.Engine.Crash(s.ContainerName, 1, false)
		h.waitFor(t, s.ID, "waits", func(now session.Session, _ lifecycle.Health) bool {
			route, _ := h.Routes.Get(s.ID) // which follows the record
			return now.Operation != nil && !route.StartsAt.IsZero()
		})
		route, _ := h.Routes.Get(s.ID)
		if in := time.Until(route.StartsAt); route.Running || in < 50*time.Second || in > 75*time.Second {
			t.Errorf("got the route %+v, started in %s, want in a minute and up to a fifth more", route, in)
		}
		if _, err := h.do(h.Stop, s.ID); err != nil {
			t.Fatal(err)
		}
		if route, _ := h.Routes.Get(s.ID); !route.StartsAt.IsZero() {
			t.Errorf("stopped: got the route %+v, want no time of a start", route)
		}
	})
}

// The engine's events are first received while a server fails to start: nothing was ever lost, so it is the server's fault.
func TestFailureBeforeFirstEventUsesBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t, func(o *lifecycle.Options) {
			o.Health = lifecycle.HealthOptions{CheckEvery: time.Minute, Timeout: 100 * time.Millisecond, Threshold: 3, MaxRestarts: 3}
		})
		connect, fail := make(chan struct{}), make(chan struct{})
		h.Engine.Script(runtimetest.OpWatch, runtimetest.Step{Until: connect})
		h.Engine.Script(runtimetest.OpStart, runtimetest.Step{Until: fail, Err: session.Errorf(session.CodeStartFailed, "exited")})
		h.runManager(t)
		made, err := h.Create(t.Context(), lifecycle.Request{})
		if err != nil {
			t.Fatal(err)
		}
		close(connect)
		for !h.Engine.Watched() {
			<-time.After(time.Millisecond)
		}
		close(fail)
		_, err = made.Wait(t.Context())
		wantCode(t, err, session.CodeStartFailed, "create")
	})
}
