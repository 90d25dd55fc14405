// Package runtimetest supports tests with runtimes: [Fake], a scriptable runtime in memory, and [Run], the suite
// that every runtime passes.
//
// It knows the contract of session.Runtime and the part of OpenCode's API that Berth uses. It knows no real engine: what only
// one engine does is tested in that engine's package.
package runtimetest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/pipenet"
	"berth/internal/session"
)

// Fake is a runtime with HTTP servers in this process as containers. It is safe for concurrent use. Close it to end
// them.
type Fake struct {
	opts Options

	mu         sync.Mutex
	containers map[string]*container // by name
	volumes    map[string]*volumes   // by container name
	behaviours map[string]Behaviour  // by container name
	images     map[string]Behaviour  // by image
	builds     map[string]int        // how often an image was rebuilt
	steps      map[Op][]Step
	calls      []Call
	watchers   map[*watcher]struct{}
	watching   atomic.Int32 // how many of them have called ready
	down       bool
	dropEvents bool
	nextPort   int // of containers without servers
	samePort   int // of servers that differ by their addresses; 0: they differ by their ports
	nextHost   int // of the next of those

	servers sync.WaitGroup // goroutines of servers that outlive the call that started them
}

// Options are a Fake's settings; the zero value is valid.
type Options struct {
	Now func() time.Time // default: time.Now
	// NoServers gives containers addresses without servers, for tests in a testing/synctest
	// bubble, where the network would stop the clock.
	NoServers bool
	// Network is where servers listen, for tests in a bubble that need them; nil stands for the host's loopback device.
	Network *pipenet.Network
}

// MissingImage is the one image reference that a Fake does not have.
const MissingImage = "berth.invalid/no-such-image:none"

// InvalidImage is a reference that cannot be one of an image.
const InvalidImage = "Not An Image"

var (
	_ session.Runtime = (*Fake)(nil)
	_ session.Pauser  = (*Fake)(nil)
)

type container struct {
	info    session.Container
	spec    session.Spec
	build   int // of its image
	log     *logBuffer
	server  *server       // nil while it does not run
	resumed chan struct{} // closed when a paused container is resumed; nil while it is not paused
}

// volumes are kept when a container is removed.
type volumes struct {
	mu       sync.Mutex
	names    []string
	sessions []string // IDs of the OpenCode sessions that its server has made
	saved    []string // copy of sessions
	hasCopy  bool
}

// NewFake returns an engine without containers.
func NewFake(opts Options) *Fake {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Fake{
		opts: opts, containers: map[string]*container{}, volumes: map[string]*volumes{},
		behaviours: map[string]Behaviour{}, images: map[string]Behaviour{}, builds: map[string]int{}, steps: map[Op][]Step{}, watchers: map[*watcher]struct{}{}, nextPort: 20000,
	}
}

// Close ends every server and every Watch, and waits until they have ended. Later calls fail.
func (f *Fake) Close() {
	f.SetDown(true)
	f.mu.Lock()
	var running []*server
	for _, c := range f.containers {
		if c.server != nil {
			running = append(running, f.ended(c, exitKilled, false))
		}
	}
	f.mu.Unlock()
	for _, s := range running {
		s.close()
	}
	f.servers.Wait()
}

func (f *Fake) now() time.Time { return f.opts.Now().UTC() }

// find returns the container with this ID or name, or nil. Call it with the lock held.
func (f *Fake) find(ref string) *container {
	if c, ok := f.containers[ref]; ok {
		return c
	}
	for _, c := range f.containers {
		if c.info.ID == ref {
			return c
		}
	}
	return nil
}

func notFound(ref string) error {
	return session.Errorf(session.CodeNotFound, "there is no container %q", ref)
}

// run starts a container's server. Call it with the lock held.
func (f *Fake) run(c *container) error {
	if f.down { // the Fake was closed during the call
		return unavailable()
	}
	b := f.behaviourLocked(c.spec)
	s, err := f.serve(c, b)
	if err != nil {
		return session.Errorf(session.CodePortTaken, "the fake engine found no port").Because(err)
	}
	c.server = s
	c.info.State, c.info.Address = session.StateRunning, s.address
	c.info.ExitCode, c.info.OOMKilled = 0, false
	c.info.StartedAt = f.now()
	c.log.setLive(true)
	c.log.printf("fake: start on %s", s.address)
	c.log.printf("fake: mode %q", c.spec.Profile.Env["STUB_MODE"])
	f.emit(session.ActionStarted, c)
	if b.Exits {
		c.log.printf("fake: ends at once, as configured")
		f.ended(c, b.ExitCode, b.OOM) // exits before it listens: there is nothing to close
	}
	return nil
}

// ended records the end of a container's server and returns it, to be closed after the lock, which the caller holds,
// has been released.
func (f *Fake) ended(c *container, code int, oom bool) *server {
	s := c.server
	c.server, c.resumed = nil, nil // requests that wait end with the server
	c.info.State, c.info.Address = session.StateStopped, ""
	c.info.ExitCode, c.info.OOMKilled = code, oom
	c.info.FinishedAt = f.now()
	c.log.setLive(false)
	if oom {
		f.emit(session.ActionOutOfMemory, c)
	}
	f.emit(session.ActionEnded, c)
	return s
}

// forget removes a container. Call it with the lock held.
func (f *Fake) forget(c *container) {
	delete(f.containers, c.info.Name)
	f.emit(session.ActionRemoved, c)
}

// Volumes lists all volumes, as "container/volume", sorted.
func (f *Fake) Volumes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []string{}
	for name, v := range f.volumes {
		for _, one := range v.names {
			all = append(all, name+"/"+one)
		}
	}
	slices.Sort(all)
	return all
}
