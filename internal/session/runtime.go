package session

import (
	"context"
	"io"
	"net/netip"
	"syscall"
	"time"
)

// Runtime runs containers. Implementations are Docker, plain processes and a fake. All pass runtimetest.Run.
//
// A ref is a container's ID or name. Every method returns a CodeEngineUnavailable error if the runtime cannot be reached, and
// respects its context.
type Runtime interface {
	// Create creates a container and its volumes, without starting it. An existing container of that name is a CodeConflict
	// error, and so is a missing workspace of a [Spec.InUse]; a missing image is CodeImageNotFound, a full disk CodeDiskFull. A
	// failure leaves no container, but may leave volumes, which may hold data.
	Create(ctx context.Context, spec Spec) (Container, error)
	// Start starts a container, and does nothing to a running one. It returns CodeNotFound, CodePortTaken, CodeDiskFull or
	// CodeStartFailed errors, and CodeConflict if this container cannot be started any more but a new one on its volumes can.
	Start(ctx context.Context, ref string) error
	// Stop asks the server to exit and kills it after the time-out. It does nothing to a stopped container, and returns a
	// CodeNotFound error if there is none.
	Stop(ctx context.Context, ref string, timeout time.Duration) error
	// Remove removes a container, never its volumes. A running one is a CodeConflict error unless force is set; a missing
	// one is not an error.
	Remove(ctx context.Context, ref string, force bool) error
	// RemoveVolumes removes the volumes of the container that had this name, and their copies, with all data. Missing volumes
	// are not an error; volumes in use are a CodeConflict error.
	RemoveVolumes(ctx context.Context, name string) error
	// CheckImage returns a CodeImageNotFound error if a container of this profile cannot be created because the image is
	// missing, and a CodeInvalid error if the name is not valid.
	CheckImage(ctx context.Context, profile Profile, image string) error
	// Drift returns the parts that differ between a container and the one that Create would create from spec now; nil if there
	// are none. It returns a CodeNotFound error if there is no container. A missing image is no difference.
	Drift(ctx context.Context, ref string, spec Spec) ([]Part, error)
	// SaveState copies the state volumes of spec, which are all except the workspace, and replaces an earlier copy. The
	// container must not run. A failure leaves the state unchanged, and possibly no copy.
	SaveState(ctx context.Context, spec Spec) error
	// CheckCopy returns a CodeNotFound error if there is no copy for RestoreState.
	CheckCopy(ctx context.Context, spec Spec) error
	// RestoreState replaces the state by the copy, which is kept so that a failed call can be repeated. The container must have
	// been removed: an existing one is a CodeConflict error. Without a copy it changes nothing and returns a CodeNotFound error.
	RestoreState(ctx context.Context, spec Spec) error
	// Inspect returns a CodeNotFound error if there is no such container.
	Inspect(ctx context.Context, ref string) (Container, error)
	// List returns the containers of this installation, in every state.
	List(ctx context.Context) ([]Container, error)
	// Logs returns the output of the server, standard output and error merged, as plain text. The caller closes it. With
	// Follow it ends when the container stops or ctx ends.
	Logs(ctx context.Context, ref string, opts LogOptions) (io.ReadCloser, error)
	// Stats returns one measurement, and a CodeNotRunning error if the container does not run.
	Stats(ctx context.Context, ref string) (Stats, error)
	// Watch calls f for each event of this installation's containers until ctx ends or the stream breaks; it always
	// returns an error. f is called from one goroutine. Events may be lost: reconcile after each (re)connection,
	// which ready announces (it may be nil).
	Watch(ctx context.Context, ready func(), f func(RuntimeEvent)) error
	// Ping returns nil if the runtime answers over a new connection, which one that is stopping does not accept.
	Ping(ctx context.Context) error
}

// Pauser is implemented by a Runtime that can pause containers.
type Pauser interface {
	// Pause suspends a container's processes; they keep their memory. It does nothing to a paused container, which can be
	// stopped and removed like a running one. It returns a CodeNotFound error if there is none, and a CodeNotRunning error if
	// it does not run.
	Pause(ctx context.Context, ref string) error
	// Resume resumes a paused container, and does nothing to a running one. It returns the errors of Pause.
	Resume(ctx context.Context, ref string) error
}

// Spec is the specification of a container. The runtime always adds the labels berth.session, berth.instance and berth.created, and
// the hardening of the container, which cannot be configured here.
type Spec struct {
	Session     ID
	Name        string // container name
	Profile     Profile
	ProfileName string // to recover a container without its record; may be empty
	Image       string
	Credential  Secret // the server's password
	Limits      Limits
	Env         map[string]string // environment of this session's server, beside the profile's, which it overrides
	Egress      EgressMode        // decides the network; empty: [EgressOpen]
	CreatedAt   time.Time
	InUse       bool // the workspace must exist already, and is not replaced by an empty one; see [WorkspaceGone]
}

// WorkspaceGone is the error of a Create with InUse and a missing workspace. where is the runtime's name of it.
func WorkspaceGone(where string) error {
	return Errorf(CodeConflict, "the session's workspace, %s, is not there any more, and no empty one replaces it: restore it "+
		"(is the engine the right one, with all its data?) and start the session, or delete the session", where)
}

// Limits are the limits of a container. Runtimes that can enforce them refuse zero values.
type Limits struct {
	Memory    Bytes // hard limit; swap is not allowed on top of it
	CPUs      CPUs  // processor time
	Processes int64 // threads included
}

// Part is a part of a container's specification.
type Part string

// The parts, in the order in which they are listed.
const (
	PartImage       Part = "image"       // another image, or the same name refers to another one now
	PartLimits      Part = "limits"      // memory, CPU time, processes
	PartEnvironment Part = "environment" // of the server, including its credential
	PartProfile     Part = "profile"     // everything else: user, volumes, network, hardening
)

// State is the state of a container, as far as it matters to a session.
type State string

// The states. Runtimes map their own states to these, and unknown ones to StateChanging.
const (
	StateStopped  State = "stopped"  // does not run, and can be started; StartedAt is zero if it never ran
	StateRunning  State = "running"  // has a server, which may still be starting
	StatePaused   State = "paused"   // has a server, whose processes are suspended
	StateChanging State = "changing" // changes between two states; inspect again later
	StateDead     State = "dead"     // cannot be started, or is being removed
)

// Container is the result of an inspection.
type Container struct {
	ID         string
	Name       string
	Session    ID // from its label
	Image      string
	State      State
	ExitCode   int        // of the last run; 0 while it runs
	OOMKilled  bool       // the last run was ended by the memory limit, as far as the runtime knows
	Fault      string     // the runtime's error of the last failed start; may be empty
	Address    string     // "ip:port" of the server, as reachable from Berth; empty while it does not run
	NetworkIP  netip.Addr // of the container on its network; invalid while it does not run or has none
	HostDir    string     // directory of the workspace on the runtime's host
	Volumes    []string   // directories of all volumes there, including the workspace
	CreatedAt  time.Time
	StartedAt  time.Time // zero: never
	FinishedAt time.Time // zero: never
}

// LogOptions selects a part of a container's log.
type LogOptions struct {
	Follow bool // continue until the container stops
	Tail   int  // number of last lines; 0: all
}

// Stats is one measurement of a running container.
type Stats struct {
	Memory      Bytes         // in use, without the page cache where the runtime can tell
	MemoryLimit Bytes         // 0: none
	CPU         time.Duration // processor time since the start
	PIDs        int           // processes and threads; 0: unknown
}

// RuntimeEvent is an event of a container.
type RuntimeEvent struct {
	Action    Action
	Container string // ID
	Name      string
	Session   ID
	ExitCode  int            // with ActionEnded
	Signal    syscall.Signal // with ActionSignalled; 0: unknown
	Time      time.Time
}

// Action is the kind of a RuntimeEvent. Runtimes do not report other events.
type Action string

// The actions, each reported afterwards.
const (
	ActionCreated     Action = "created"
	ActionStarted     Action = "started"
	ActionSignalled   Action = "signalled"     // the container was sent a signal through the engine, or by an engine that stops
	ActionOutOfMemory Action = "out of memory" // the kernel has killed processes of the container, not necessarily the server
	ActionEnded       Action = "ended"
	ActionRemoved     Action = "removed"
)
