package session

import (
	"context"
	"io"
	"syscall"
	"time"
)

// Runtime runs containers. Docker is one; a fake and a plain child process are others. All pass runtimetest.Run.
//
// A ref is a container's ID or name. Every method returns a CodeEngineUnavailable error when the runtime cannot be
// reached, and honours its context.
type Runtime interface {
	// Create makes a container and its volumes, without starting it. A container of that name that is already there
	// is a CodeConflict error, and so is a workspace that should be there and is not ([Spec.InUse]); a missing image is
	// CodeImageNotFound, a full disk CodeDiskFull. On failure nothing is left but volumes, which may hold data.
	Create(ctx context.Context, spec Spec) (Container, error)
	// Start starts a container; one that runs already is left alone. It returns CodeNotFound, CodePortTaken,
	// CodeDiskFull or CodeStartFailed errors, and CodeConflict when this container cannot be started any more and another
	// one on its volumes can.
	Start(ctx context.Context, ref string) error
	// Stop asks the server to end and kills it after the time-out; a container that does not run is left alone. It
	// returns a CodeNotFound error if there is none.
	Stop(ctx context.Context, ref string, timeout time.Duration) error
	// Remove removes a container, never its volumes. A running one is a CodeConflict error unless force is set; one
	// that is not there is not an error.
	Remove(ctx context.Context, ref string, force bool) error
	// RemoveVolumes removes the volumes of the container that had this name and their copies, with everything in them. Volumes that
	// are not there are not an error; volumes in use are a CodeConflict error.
	RemoveVolumes(ctx context.Context, name string) error
	// CheckImage returns a CodeImageNotFound error when there is no such image to make a container of this profile from,
	// and a CodeInvalid error when that cannot be the name of one.
	CheckImage(ctx context.Context, profile Profile, image string) error
	// Drift names what differs between a container and the one that Create would make of spec now; nothing when they are
	// the same. It returns a CodeNotFound error if there is no container. An image that is missing is no difference.
	Drift(ctx context.Context, ref string, spec Spec) ([]Part, error)
	// SaveState copies those volumes of spec that hold the server's state, which are all but the workspace, in place of
	// an earlier copy. The container must not run. On failure the state is as it was, and there may be no copy.
	SaveState(ctx context.Context, spec Spec) error
	// CheckCopy returns a CodeNotFound error when there is no copy that RestoreState could put back.
	CheckCopy(ctx context.Context, spec Spec) error
	// RestoreState replaces the state by the copy, which stays, so that a call that failed can be repeated. The container
	// must have been removed: one that is there is a CodeConflict error. Without a copy it changes nothing and returns a
	// CodeNotFound error.
	RestoreState(ctx context.Context, spec Spec) error
	// Inspect returns a CodeNotFound error if there is no such container.
	Inspect(ctx context.Context, ref string) (Container, error)
	// List returns the containers of this installation, in every state.
	List(ctx context.Context) ([]Container, error)
	// Logs returns what the server wrote, standard output and error merged, as plain text. The caller closes it;
	// with Follow it ends when the container stops or ctx does.
	Logs(ctx context.Context, ref string, opts LogOptions) (io.ReadCloser, error)
	// Stats takes one measurement. It returns a CodeNotRunning error when the container does not run.
	Stats(ctx context.Context, ref string) (Stats, error)
	// Watch calls f for each event of this installation's containers until ctx ends or the stream breaks; it always
	// returns an error. f is called from one goroutine. Events may be lost: reconcile after each (re)connection,
	// which ready announces (it may be nil).
	Watch(ctx context.Context, ready func(), f func(RuntimeEvent)) error
	// Ping returns nil when the runtime answers, asked over a new connection: one that is stopping takes none.
	Ping(ctx context.Context) error
}

// Pauser is what a Runtime can do besides, where it can hold the processes of a container up and let them go on.
type Pauser interface {
	// Pause gives a container's processes no more processor time; they keep their memory. A container that is paused is left
	// alone, and can be stopped and removed like one that runs. It returns a CodeNotFound error if there is none, and a
	// CodeNotRunning error if it does not run.
	Pause(ctx context.Context, ref string) error
	// Resume lets a paused container go on; one that runs is left alone. It returns the errors of Pause.
	Resume(ctx context.Context, ref string) error
}

// Spec says what container to make. The runtime adds the labels berth.session, berth.instance and berth.created, and
// everything that hardens the container: neither can be asked for or left out.
type Spec struct {
	Session     ID
	Name        string // container name
	Profile     Profile
	ProfileName string // for whoever finds the container without its session; may be empty
	Image       string
	Credential  Secret // the server's password
	Limits      Limits
	CreatedAt   time.Time
	InUse       bool // there is a workspace already: where it is gone no empty one takes its place; see [WorkspaceGone]
}

// WorkspaceGone is the error of a Create whose Spec is of a workspace in use that is not there. where is the runtime's name for it.
func WorkspaceGone(where string) error {
	return Errorf(CodeConflict, "the session's workspace, %s, is not there any more, and no empty one takes its place: bring it back "+
		"(is the engine the right one, with all its data?) and start the session, or delete the session", where)
}

// Limits bounds a container. Zero values are refused by runtimes that can enforce them.
type Limits struct {
	Memory    Bytes // hard limit; swap is not allowed on top of it
	CPUs      CPUs  // processor time
	Processes int64 // threads included
}

// Part is a part of how a container is made.
type Part string

// The parts, in the order in which they are named.
const (
	PartImage       Part = "image"       // another image, or the same name means another one by now
	PartLimits      Part = "limits"      // memory, CPU time, processes
	PartEnvironment Part = "environment" // of the server, its credential included
	PartProfile     Part = "profile"     // everything else: user, volumes, network, what hardens the container
)

// State is what a container does, as far as it matters to a session.
type State string

// The states. Runtimes translate theirs; one that they do not know is StateChanging.
const (
	StateStopped  State = "stopped"  // does not run, and can be started; StartedAt tells whether it ever ran
	StateRunning  State = "running"  // has a server, which may be on its way up
	StatePaused   State = "paused"   // has a server, whose processes get no processor time
	StateChanging State = "changing" // is between two others, by the runtime's own doing: look again later
	StateDead     State = "dead"     // cannot be started any more, or is being removed
)

// Container is what a runtime knows of a container.
type Container struct {
	ID         string
	Name       string
	Session    ID // from its label
	Image      string
	State      State
	ExitCode   int      // of the last run; 0 while it runs
	OOMKilled  bool     // the last run was ended by the memory limit, as far as the runtime noticed
	Fault      string   // the runtime's own words about the last failed start; may be empty
	Address    string   // "ip:port" at which Berth reaches the server; empty while it does not run
	HostDir    string   // where the workspace lives on the runtime's host
	Volumes    []string // where all volumes live there, the workspace included
	CreatedAt  time.Time
	StartedAt  time.Time // zero: never
	FinishedAt time.Time // zero: never
}

// LogOptions chooses a part of a container's log.
type LogOptions struct {
	Follow bool // go on until the container stops
	Tail   int  // only the last so many lines; 0: all
}

// Stats is one measurement of a running container.
type Stats struct {
	Memory      Bytes         // in use, without the page cache where the runtime can tell
	MemoryLimit Bytes         // 0: none
	CPU         time.Duration // processor time since the start
	PIDs        int           // processes and threads; 0: not known
}

// RuntimeEvent is something that happened to a container.
type RuntimeEvent struct {
	Action    Action
	Container string // ID
	Name      string
	Session   ID
	ExitCode  int            // with ActionEnded
	Signal    syscall.Signal // with ActionSignalled; 0: not known
	Time      time.Time
}

// Action is what happened to a container. Runtimes keep what else happens to themselves.
type Action string

// The actions, each reported when it has happened.
const (
	ActionCreated     Action = "created"
	ActionStarted     Action = "started"
	ActionSignalled   Action = "signalled"     // somebody, an engine that stops included, has the container sent a signal
	ActionOutOfMemory Action = "out of memory" // the kernel has killed some of its processes, which need not be the server
	ActionEnded       Action = "ended"
	ActionRemoved     Action = "removed"
)
