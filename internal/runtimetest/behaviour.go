package runtimetest

import (
	"cmp"
	"syscall"
	"time"

	"berth/internal/session"
)

// Behaviour sets how the server in a container misbehaves; the zero value is a server that works. The profile's variable STUB_MODE
// has the same meaning as for test/stubserver.
type Behaviour struct {
	Exits      bool          // exits at start with ExitCode; with OOM for lack of memory
	ExitCode   int           // with Exits
	OOM        bool          // with Exits
	Closed     bool          // runs without listening
	Stubborn   bool          // ignores SIGTERM, so that Stop takes its whole timeout
	LateAttach int           // requests on so many first connections of a run are never answered, later ones are
	Mute       bool          // no request is ever answered
	Latency    time.Duration // of every answer
	Slow       time.Duration // readiness is not answered before this time after the start
	Status     int           // status of every response, with an empty body; 0: the regular one
	Page       bool          // readiness answers 200 with the web page
	Unhealthy  bool          // readiness answers 200 with JSON whose member is false
	Heartbeat  time.Duration // between two events of /event; 0: one second
}

// The exit codes of the Engine API for a process that was killed by a signal.
const (
	exitKilled = 128 + 9
	exitStub   = 3 // of STUB_MODE=exit
)

// Behave sets how the server of the container with this name behaves, now and later, whether or not it exists yet. The
// name "" matches every container that has no behaviour of its own.
func (f *Fake) Behave(name string, b Behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behaviours[name] = b
}

// BehaveImage sets how the servers of this image behave, unless their containers have a behaviour of their own.
func (f *Fake) BehaveImage(image string, b Behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images[image] = b
}

// Rebuild gives the name of an image to another one, as a build with the same tag does.
func (f *Fake) Rebuild(image string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.builds[image]++
}

// behaviour is called at each request: a server may start to misbehave while it runs.
func (f *Fake) behaviour(spec session.Spec) Behaviour {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.behaviourLocked(spec)
}

func (f *Fake) behaviourLocked(spec session.Spec) Behaviour {
	b, ok := f.behaviours[spec.Name]
	if !ok {
		b, ok = f.images[spec.Image]
	}
	if !ok {
		b = f.behaviours[""]
	}
	switch spec.Profile.Env["STUB_MODE"] {
	case "exit":
		b.Exits, b.ExitCode = true, exitStub
	case "closed":
		b.Closed = true
	case "stubborn":
		b.Stubborn = true
	case "mute":
		b.Mute = true
	case "slow":
		delay, _ := time.ParseDuration(spec.Profile.Env["STUB_DELAY"])
		b.Slow = cmp.Or(b.Slow, delay, 2*time.Second)
	}
	return b
}

// Crash ends a running container's server with this exit code, as if by itself.
func (f *Fake) Crash(name string, code int, oom bool) {
	f.mu.Lock()
	c := f.find(name)
	var s *server
	if c != nil && c.info.State == session.StateRunning {
		s = f.ended(c, code, oom)
	}
	f.mu.Unlock()
	s.close()
}

// EmitOutOfMemory reports that the kernel has killed a process in a running container that was out of memory. Its server
// keeps running, or is about to end.
func (f *Fake) EmitOutOfMemory(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.find(name); c != nil && c.info.State == session.StateRunning {
		f.emit(session.ActionOutOfMemory, c)
	}
}

// RemoveExternally removes a container, running or not, as another client of the engine would. Its volumes stay.
func (f *Fake) RemoveExternally(name string) {
	f.mu.Lock()
	var s *server
	if c := f.find(name); c != nil {
		if c.info.State == session.StateRunning {
			s = f.ended(c, exitKilled, false)
		}
		f.forget(c)
	}
	f.mu.Unlock()
	s.close()
}

// StopExternally ends a running container's server as the engine's own tools do: by a signal that the engine reports, with the
// resulting exit code. gone removes the container too.
func (f *Fake) StopExternally(name string, signal syscall.Signal, code int, gone bool) {
	f.mu.Lock()
	var s *server
	if c := f.find(name); c != nil && c.info.State == session.StateRunning {
		f.emitSignal(c, signal)
		s = f.ended(c, code, false)
		if gone {
			f.forget(c)
		}
	}
	f.mu.Unlock()
	s.close()
}

// SetState puts a container into a state that Berth never requests, such as paused or dead. Its server, if it has one, keeps
// running; only a container in StateRunning has an address.
func (f *Fake) SetState(name string, state session.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.find(name)
	if c == nil {
		return
	}
	c.info.State, c.info.Address = state, ""
	if state == session.StateRunning && c.server != nil {
		c.info.Address = c.server.address
	}
}
