// Package lifecycle decides what becomes of sessions, and does it. It is the only writer of a session's status.
//
// It knows the rules by which sessions are created, started, stopped, healed, woken, upgraded and deleted, and acts on a
// Store and a Runtime alone. It refuses to know which store, which runtime and which door a request came in by.
package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// Manager decides what happens to sessions: it is the one place that changes their status. Every change is recorded in
// the store before it is made in the runtime, so that whatever dies when, a successor finds out what was meant.
//
// It is safe for concurrent use. [Manager.Run] must be running for interrupted work to be taken up, and
// [Manager.Close] ends the work in progress.
type Manager struct {
	limit   atomic.Int64 // of sessions at once; 0: none
	store   session.Store
	runtime session.Runtime
	prober  session.Prober
	routes  session.Routes
	keys    Keys
	opts    Options
	rules   Rules

	activity activity

	mu         sync.Mutex
	working    map[session.ID]*Work          // operations that this process runs
	unrecorded map[session.ID]unrecordedStop // stops that are still to be recorded
	closed     bool
	wg         sync.WaitGroup
	halt       context.CancelFunc              // ends clean-up too
	onHalt     func(func()) (stop func() bool) // as context.AfterFunc

	published published
	unlocated queue // sessions whose address another process has changed

	monitor monitor
	idle    idle
	orphans orphans
	retries retries

	outlasting outlasting

	subscribers subscribers
	healers     chan struct{} // restarts that nobody asked for and that are going on
}

// Keys derives what the Manager needs of the token secret.
type Keys interface {
	// Upstream is the password of a container's server.
	Upstream(containerName string) session.Secret
	// IdempotentID is the ID that an idempotency key of an owner always leads to.
	IdempotentID(owner, idempotencyKey string) session.ID
}

// Options are the Manager's settings. Zero means the default given here; Profiles and Limits are required.
type Options struct {
	Process        string                     // names this process in records; default: a random ID
	Profiles       map[string]session.Profile // by name
	DefaultProfile string                     // for requests that name none; default: "opencode"
	Limits         session.Limits             // of every container
	MaxSessions    int                        // sessions that may be creating or running at once; 0: no limit
	TokenLife      time.Duration              // 0: tokens do not expire
	SweepEvery     time.Duration              // between two removals of the digests of expired tokens; default 1 h
	Swept          func(tokens int)           // is told how many were removed; nil: nobody is
	StartTimeout   time.Duration              // from the begin of a start to the first answer; default 2 min
	StopTimeout    time.Duration              // from SIGTERM to SIGKILL; default 10 s
	ProbeInterval  time.Duration              // between the starts of two readiness probes, at most; default 150 ms
	ProbeTimeout   time.Duration              // of one probe; default 1 s
	ReconcileEvery time.Duration              // default 30 s
	OrphanGrace    time.Duration              // from the first sight of a container without a record to its removal; default 5 min
	Hold           OrphanHold                 // which of them are kept; nil: known to this process only
	Handover       time.Duration              // from taking an operation over from a living process to acting; default 1 s
	IdleTimeout    time.Duration              // a session that nobody has used for so long is stopped; 0: never
	MaxBusy        time.Duration              // how long a server's own work keeps an unused session up beyond that; default 12 h
	MaxLifetime    time.Duration              // of a session, from its creation; 0: for ever
	Health         HealthOptions              // how sessions are looked after
	Peers          Peers                      // who else works on the store; nil: nobody
	Feed           Feed                       // what they do; nil: nothing is heard of it before the next reconciliation
	Now            func() time.Time
	Logger         *slog.Logger

	// Background gives what the Manager does of its own accord a context of its own, piece by piece, such as one that names
	// it in logs. nil: the one of Run.
	Background func(context.Context) context.Context

	// Admit says why no session may begin to run now, as a CodePressure error. nil: the limit decides alone.
	Admit func(context.Context) error

	// Sink takes what happens; nil: nobody does.
	Sink Sink
}

func (o Options) withDefaults() Options {
	o.Process = cmp.Or(o.Process, string(session.NewID()))
	o.DefaultProfile = cmp.Or(o.DefaultProfile, "opencode")
	o.StartTimeout = cmp.Or(o.StartTimeout, 2*time.Minute)
	o.StopTimeout = cmp.Or(o.StopTimeout, 10*time.Second)
	o.ProbeInterval = cmp.Or(o.ProbeInterval, 150*time.Millisecond)
	o.ProbeTimeout = cmp.Or(o.ProbeTimeout, time.Second)
	o.ReconcileEvery = cmp.Or(o.ReconcileEvery, 30*time.Second)
	o.OrphanGrace = cmp.Or(o.OrphanGrace, 5*time.Minute)
	o.Handover = cmp.Or(o.Handover, time.Second)
	o.SweepEvery = cmp.Or(o.SweepEvery, time.Hour)
	o.MaxBusy = cmp.Or(o.MaxBusy, 12*time.Hour)
	o.Health = o.Health.withDefaults()
	if o.Hold == nil {
		o.Hold = &heldInMemory{}
	}
	if o.Peers == nil {
		o.Peers = soleProcess{process: o.Process}
	}
	if o.Background == nil {
		o.Background = func(ctx context.Context) context.Context { return ctx }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	var faults []error
	for name, p := range o.Profiles {
		if err := p.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("profile %s: %w", name, err))
		}
	}
	// The others may be used by nobody: who asks for one that needs more is told so.
	if p, ok := o.Profiles[o.DefaultProfile]; !ok {
		faults = append(faults, fmt.Errorf("there is no profile %q", o.DefaultProfile))
	} else if o.Limits.Memory < p.MinMem {
		faults = append(faults, fmt.Errorf("profile %s needs %s of memory, the limit is %s", o.DefaultProfile, p.MinMem, o.Limits.Memory))
	}
	if o.MaxSessions < 0 {
		faults = append(faults, fmt.Errorf("the limit of sessions is %d; use 0 for no limit", o.MaxSessions))
	}
	return errors.Join(faults...)
}

// NewManager checks what it is given. It starts nothing.
func NewManager(store session.Store, runtime session.Runtime, prober session.Prober, routes session.Routes, keys Keys, opts Options) (*Manager, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("session manager: %w", err)
	}
	halted, halt := context.WithCancel(context.Background())
	m := &Manager{
		halt: halt, onHalt: func(f func()) func() bool { return context.AfterFunc(halted, f) },
		store: store, runtime: runtime, prober: prober, routes: routes, keys: keys, opts: opts,
		activity:    activity{seen: map[session.ID]time.Time{}},
		working:     map[session.ID]*Work{},
		unrecorded:  map[session.ID]unrecordedStop{},
		unlocated:   newQueue(),
		subscribers: subscribers{listeners: map[session.ID]map[chan struct{}]struct{}{}},
		idle:        idle{queue: newQueue(), busy: map[session.ID]bool{}},
		retries:     retries{of: map[session.ID]retry{}},
		outlasting:  outlasting{seen: map[session.ID]foreignOperation{}},
		monitor:     newMonitor(), healers: make(chan struct{}, healers),
		published: published{
			newest: map[session.ID]session.Session{}, at: map[session.ID]uint64{}, address: map[session.ID]string{}, displaced: map[session.ID][]string{},
			profile: profilePointers(opts.Profiles),
		},
	}
	m.rules = Rules{
		Process: opts.Process, StartTimeout: opts.StartTimeout, StopTimeout: opts.StopTimeout, IdleTimeout: opts.IdleTimeout,
		Restarts: opts.Health.heals(), MaxRestarts: opts.Health.MaxRestarts, RestartDelay: opts.Health.delay,
	}
	m.Limit(opts.MaxSessions)
	return m, nil
}

// Limit changes how many sessions may be creating or running at once; 0: no limit. Those that are go on, however many.
func (m *Manager) Limit(max int) { m.limit.Store(int64(max)) }

func (m *Manager) maxSessions() int { return int(m.limit.Load()) }

// Get returns a CodeNotFound error if there is no such session.
func (m *Manager) Get(ctx context.Context, id session.ID) (session.Session, error) {
	return m.store.Get(ctx, id)
}

// List returns one page of sessions.
func (m *Manager) List(ctx context.Context, q session.Query) (session.Page, error) {
	return m.store.List(ctx, q)
}

// Logs returns what the session's server wrote, as plain text; the caller closes it. It returns a CodeNotFound error
// if there is no such session, and CodeNotRunning if the session has no container.
func (m *Manager) Logs(ctx context.Context, id session.ID, opts session.LogOptions) (io.ReadCloser, error) {
	s, err := m.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	logs, err := m.runtime.Logs(ctx, s.ContainerName, opts)
	if session.CodeOf(err) == session.CodeNotFound {
		return nil, session.Errorf(session.CodeNotRunning, "session %s has no container, so there are no logs; start it first", id)
	}
	return logs, err
}

// Start brings a session up and does nothing to one that is up. Errors beside the store's: CodeConflict,
// CodeInProgress, and of a session that holds no place CodeLimit and CodePressure.
func (m *Manager) Start(ctx context.Context, id session.ID) (*Work, error) {
	return m.begin(ctx, id, session.OpStart)
}

// Stop ends a session's container and keeps its workspace. It takes the place of a create, start or restart in progress.
func (m *Manager) Stop(ctx context.Context, id session.ID) (*Work, error) {
	return m.begin(ctx, id, session.OpStop)
}

// Restart stops a session and starts it again; workspace, token and address stay.
func (m *Manager) Restart(ctx context.Context, id session.ID) (*Work, error) {
	return m.begin(ctx, id, session.OpRestart)
}

// Delete removes a session with its container, its workspace and its record. It takes the place of a create, start or
// restart in progress.
func (m *Manager) Delete(ctx context.Context, id session.ID) (*Work, error) {
	return m.begin(ctx, id, session.OpDelete)
}

// Cancel ends a create, start or restart in progress, the wait for an automatic restart included, and leaves the session
// stopped. Anything else in progress, or nothing, is a CodeConflict error.
func (m *Manager) Cancel(ctx context.Context, id session.ID) (*Work, error) {
	did := OperationResult{Operation: OpCancel, Session: id}
	s, err := m.store.Get(ctx, id)
	switch {
	case err != nil:
	case s.Operation == nil:
		err = session.Errorf(session.CodeConflict, "nothing is in progress on session %s", id)
	case !s.Operation.Kind.BringsUp():
		err = session.Errorf(session.CodeConflict, "a %s cannot be cancelled: it ends by itself, or see --force", s.Operation.Kind)
	}
	if err != nil {
		return nil, m.refuse(ctx, did, err)
	}
	m.observe(ctx, did)
	return m.Stop(ctx, id)
}

// Force stops, restarts or deletes a session in place of whatever is in progress, here or on another process, however
// long that would still have taken. Only a delete in progress goes on: to stop or restart what is being deleted is a
// CodeConflict or CodeInProgress error.
func (m *Manager) Force(ctx context.Context, id session.ID, kind session.Kind) (*Work, error) {
	m.opts.Logger.WarnContext(ctx, "whatever is in progress makes way", "session_id", id, "operation", kind)
	return m.obey(ctx, id, Command{Kind: kind, Force: true})
}

func (m *Manager) now() time.Time { return m.opts.Now().UTC().Truncate(time.Microsecond) }

// change reads a session, applies f and writes it back, again from the start when someone else was quicker. The route
// follows the record.
func (m *Manager) change(ctx context.Context, id session.ID, f func(*session.Session) error) (session.Session, error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	for {
		s, err := m.store.Get(ctx, id)
		if err != nil {
			return session.Session{}, err
		}
		s = s.Clone()
		before, revision := s.Status, s.Revision
		if err := f(&s); err != nil {
			return session.Session{}, err
		}
		if !before.CanBecome(s.Status) {
			return session.Session{}, fmt.Errorf("session %s cannot move from %s to %s", id, before, s.Status)
		}
		mark := m.published.mark()
		s, err = m.store.Update(ctx, s, session.Unlimited)
		switch session.CodeOf(err) {
		case "":
			m.publishSince(mark, s)
			return s, nil
		case session.CodeConflict:
			m.opts.Logger.DebugContext(ctx, "session changed meanwhile, trying again", "session_id", id, "revision", revision)
		default:
			return session.Session{}, err
		}
	}
}

// recordTimeout bounds a write that has to be made whether or not the caller is still there.
const recordTimeout = 10 * time.Second

// detach gives a context for a record that must be completed although the request that caused it may end.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}
