// Package lifecycle decides what happens to sessions, and does it. It is the only writer of a session's status.
//
// It contains the rules by which sessions are created, started, stopped, healed, woken, upgraded and deleted, and acts on a
// Store and a Runtime alone. It does not depend on a particular store or runtime, nor on the protocol of a request.
package lifecycle

import (
	"context"
	"fmt"
	"io"
	"time"

	"berth/internal/session"
)

// Manager decides what happens to sessions and is the only writer of their status. Every operation is recorded in the store
// before it acts on the runtime, so that after a crash the next process can complete it.
//
// It is safe for concurrent use. [Manager.Run] must be running for interrupted work to be resumed, and [Manager.Close] ends the
// work in progress.
//
// It is the facade of several types, each with its own state and mutex. From the inside out: [Rules] decide; healthRecords,
// deferredSessions, retries, foreignOperations, sessionLocks, subscribers and activity hold state; publisher updates the data
// plane, and recorder changes records; containers and executor carry out what is recorded; queue begins operations, one at a time
// for each session; and idle, follower, reconciler and monitor observe, and submit their observations to the queue.
//
// Each mutex is taken alone, except that of publisher: while it is held, those of healthRecords, deferredSessions, retries and
// subscribers are taken, and the data plane is called.
type Manager struct {
	store   session.Store
	runtime session.Runtime
	keys    Keys
	opts    Options
	rules   Rules
	halt    context.CancelFunc // ends clean-up too
	soon    signal             // requests a reconciliation now

	reports     *reporter
	subscribers *subscribers
	health      *healthRecords
	deferred    *deferredSessions
	activity    *activity
	routes      *publisher
	records     *recorder
	locks       *sessionLocks
	make        *containers
	queue       *queue
	idle        *idle
	orphans     *orphans
	follower    *follower
	reconciler  *reconciler
	monitor     *monitor
}

// NewManager checks the options. It starts nothing.
func NewManager(store session.Store, runtime session.Runtime, prober session.Prober, routes session.Routes, keys Keys, opts Options) (*Manager, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("session manager: %w", err)
	}
	rules, soon := opts.rules(), newSignal()
	reports := &reporter{opts}

	subs := &subscribers{listeners: map[session.ID]map[chan struct{}]struct{}{}}
	health := newHealthRecords(opts, rules)
	left := &deferredSessions{since: map[session.ID]time.Time{}}
	tries := &retries{of: map[session.ID]retry{}}
	foreign := &foreignOperations{seen: map[session.ID]foreignOperation{}}
	used := &activity{store: store, opts: opts, seen: map[session.ID]time.Time{}}
	work, unlocated := newSessionLocks(), newWorklist()

	published := newPublisher(routes, keys, opts, rules, health, left, tries, subs)
	records := &recorder{store: store, opts: opts, routes: published}

	halted, halt := context.WithCancel(context.Background()) //nolint:gosec // Halt calls it
	maker := &containers{
		runtime: runtime, prober: prober, keys: keys, opts: opts, reports: reports, routes: published, records: records,
		stages: &stages{of: map[session.ID]session.Stage{}},
	}
	execute := &executor{
		store: store, runtime: runtime, opts: opts, rules: rules, reports: reports, health: health, routes: published, records: records,
		locks: work, make: maker, retries: tries, unlocated: unlocated,
		onHalt: func(f func()) func() bool { return context.AfterFunc(halted, f) },
	}
	commands := &queue{
		store: store, runtime: runtime, opts: opts, rules: rules, reports: reports, health: health, routes: published, records: records,
		locks: work, execute: execute, retries: tries, foreign: foreign, soon: soon, restartSlots: make(chan struct{}, maxConcurrentRestarts),
	}

	unused := newIdle(store, prober, keys, opts, rules, used, published, commands)
	unknown := &orphans{runtime: runtime, opts: opts, reports: reports, locks: work}
	same := &duplicates{store: store, runtime: runtime, opts: opts, routes: published, locks: work, queue: commands}
	others := &follower{store: store, runtime: runtime, opts: opts, reports: reports, routes: published, locks: work, duplicates: same, unlocated: unlocated}
	compare := &reconciler{
		store: store, runtime: runtime, prober: prober, keys: keys, opts: opts, rules: rules, reports: reports, health: health, routes: published,
		records: records, locks: work, queue: commands, foreign: foreign, deferred: left, orphans: unknown, idle: unused, follower: others, duplicates: same,
		diagnoser: &diagnoser{runtime: runtime, opts: opts, reports: reports, health: health, routes: published, deferred: left},
	}
	look := newMonitor(runtime, prober, opts, reports, health, records, work, commands, tries, left, soon, compare.reconcile)

	m := &Manager{
		store: store, runtime: runtime, keys: keys, opts: opts, rules: rules, halt: halt, soon: soon,
		reports: reports, subscribers: subs, health: health, deferred: left, activity: used, routes: published, records: records, locks: work,
		make: maker, queue: commands, idle: unused, orphans: unknown, follower: others, reconciler: compare, monitor: look,
	}
	m.Limit(opts.MaxSessions)
	return m, nil
}

// Limit changes how many sessions may be creating or running at once; 0: no limit. Sessions above a lower limit keep running.
func (m *Manager) Limit(max int) { m.queue.limit.Store(int64(max)) }

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

// Start starts a session and does nothing to a running one. Errors beside the store's: CodeConflict, CodeInProgress, and for a
// session that occupies no slot CodeLimit and CodePressure.
func (m *Manager) Start(ctx context.Context, id session.ID) (*Work, error) {
	return m.queue.submit(ctx, id, Command{Kind: session.OpStart})
}

// Stop stops a session's container and keeps its workspace. It preempts a create, start or restart in progress.
func (m *Manager) Stop(ctx context.Context, id session.ID) (*Work, error) {
	return m.queue.submit(ctx, id, Command{Kind: session.OpStop})
}

// Restart stops a session and starts it again; workspace, token and address are kept.
func (m *Manager) Restart(ctx context.Context, id session.ID) (*Work, error) {
	return m.queue.submit(ctx, id, Command{Kind: session.OpRestart})
}

// Delete removes a session with its container, its workspace and its record. It preempts a create, start or
// restart in progress.
func (m *Manager) Delete(ctx context.Context, id session.ID) (*Work, error) {
	return m.queue.submit(ctx, id, Command{Kind: session.OpDelete})
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
		return nil, m.reports.reportRefusal(ctx, did, err)
	}
	m.reports.reportResult(ctx, did)
	return m.Stop(ctx, id)
}

// Force stops, restarts or deletes a session and preempts any operation in progress, on this process or another. A delete in
// progress is not preempted: the stop or restart of a session that is being deleted is a CodeConflict or CodeInProgress error.
func (m *Manager) Force(ctx context.Context, id session.ID, kind session.Kind) (*Work, error) {
	m.opts.Logger.WarnContext(ctx, "forced operation preempts any in progress", "session_id", id, "operation", kind)
	return m.queue.submit(ctx, id, Command{Kind: kind, Force: true})
}
