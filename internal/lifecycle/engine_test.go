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

// The engine stops and recovers more often than a server may be restarted, in each way that it can: no session fails, and no
// restart counts.
func TestRepeatedEngineStopsUseNoRestartBudget(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(h *fixture, container string){
		"exit events and no new connections": func(h *fixture, container string) {
			h.Engine.Script(runtimetest.OpPing, runtimetest.Step{Times: -1, Err: errUnavailable})
			h.Engine.StopExternally(container, syscall.SIGTERM, 143, false)
			<-time.After(50 * time.Millisecond) // it stops the other containers
			h.Engine.SetDown(true)
			h.Engine.ClearScript()
		},
		"exit events and a proxy in front of the engine that still answers": func(h *fixture, container string) {
			h.Engine.StopExternally(container, syscall.SIGTERM, 143, false)
			<-time.After(50 * time.Millisecond)
			h.Engine.SetDown(true)
		},
		"no exit events": func(h *fixture, container string) {
			h.Engine.SetDown(true)
			h.Engine.Crash(container, 1, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := monitored(t, func(o *lifecycle.Options) { o.Health.RestartDelay = 3 * time.Second }) // long enough for the outage to be detected first
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
		"SIGTERM":                   {143, 0},
		"killed":                    {137, 0},
		"exit missed by the engine": {255, 0},
		"server failure":            {3, 1},
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
					t.Errorf("got the timeline %v, want the known cause and no other", now.Timeline)
				}
			})
		})
	}
}

// Without automatic restarts, the next request starts a session that the engine has stopped.
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

// A stop through the engine's API is distinguished from a failure of the server.
func TestContainerExitCauseIsReported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(h *fixture, container string)
		want string
		not  string
	}{
		"docker stop": {
			func(h *fixture, c string) { h.Engine.StopExternally(c, syscall.SIGTERM, 143, false) }, "stopped through the engine's API", "memory",
		},
		"docker kill": {
			func(h *fixture, c string) { h.Engine.StopExternally(c, syscall.SIGKILL, 137, false) }, "stopped through the engine's API", "memory",
		},
		"docker rm -f": { // the missing container may be observed before the engine's event of the removal
			func(h *fixture, c string) { h.Engine.StopExternally(c, syscall.SIGKILL, 137, true) }, "the container ", "stopped",
		},
		"out of memory":   {func(h *fixture, c string) { h.Engine.Crash(c, 137, true) }, "ran out of memory", "API"},
		"killed":          {func(h *fixture, c string) { h.Engine.Crash(c, 137, false) }, "perhaps because it ran out of memory", "API"},
		"exits by itself": {func(h *fixture, c string) { h.Engine.Crash(c, 143, false) }, "ended by itself with code 143", "engine"},
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

// The route of a session with a delayed automatic restart has the time of the start.
func TestRouteOfRestartingSessionHasStartTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := monitored(t, func(o *lifecycle.Options) { o.Health.RestartDelay = time.Minute })
		s, _ := h.Make(lifecycle.Request{})
		h.waitFor(t, s.ID, "healthy", isUp)
		if route, _ := h.Routes.Get(s.ID); !route.StartsAt.IsZero() {
			t.Errorf("while it runs: got the route %+v, want no start time", route)
		}
		h.Engine.Crash(s.ContainerName, 1, false)
		h.waitFor(t, s.ID, "waits", func(now session.Session, _ lifecycle.Health) bool {
			route, _ := h.Routes.Get(s.ID) // published after the record
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
			t.Errorf("stopped: got the route %+v, want no start time", route)
		}
	})
}

// The engine's events are first received while a server fails to start. No events were lost, so the failure counts against the
// server.
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
