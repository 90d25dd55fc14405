package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// reconciler compares records and containers, and brings to the queue what it sees.
type reconciler struct {
	store      session.Store
	runtime    session.Runtime
	prober     session.Prober
	keys       Keys
	opts       Options
	rules      Rules
	reports    *reporter
	health     *healthRecords
	routes     *publisher
	records    *recorder
	locks      *sessionLocks
	queue      *queue
	foreign    *foreignOperations
	deferred   *deferredSessions
	orphans    *orphans
	idle       *idle
	follower   *follower
	duplicates *duplicates
	diagnoser  *diagnoser
}

// reconcileAll makes one pass over every record and every container. When either list cannot be had it changes nothing:
// what is not known is not an orphan. Sessions that another process looks after are followed and left alone.
func (r *reconciler) reconcileAll(ctx context.Context) error {
	ctx = r.opts.Tracer.Start(ctx)
	// Containers first: a record is older than its container, so that a container of this list without a record in
	// the later list has none.
	stream, begun := r.health.stream(), time.Now()
	containers, err := r.runtime.List(ctx)
	if err != nil {
		return err
	}
	page, err := r.store.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	byName := make(map[string]session.Container, len(containers))
	for _, c := range containers {
		byName[c.Name] = c
	}
	listed := make(map[session.ID]bool, len(page.Sessions))
	var all sync.WaitGroup
	turns := make(chan struct{}, maxConcurrentReconciles)
	for _, s := range page.Sessions {
		listed[s.ID] = true
		r.idle.enqueueIfDue(s)
		c, exists := byName[s.ContainerName]
		delete(byName, s.ContainerName)
		if exists && c.State == session.StateRunning {
			r.health.noteRunning(s.ID, stream, begun)
		}
		if r.isReconciled(s, c, exists) {
			continue
		}
		see := r.follower.follow
		if r.opts.Peers.Mine(s.ID) {
			see = r.reconcile
		}
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			r.reports.logFailure(ctx, s.ID, see(ctx, s.ID))
		})
	}
	all.Wait()
	r.foreign.keep(listed)
	r.orphans.sweepOrphans(ctx, byName, len(page.Sessions))
	return r.follower.unpublishMissing(ctx, listed)
}

// maxConcurrentReconciles is how many sessions are reconciled at once. One may have to wait for a server that does not answer, or that does
// not end, and the others must not wait for that.
const maxConcurrentReconciles = 16

// isReconciled looks at what the lists say. It may be out of date: nothing is changed because of it.
func (r *reconciler) isReconciled(s session.Session, c session.Container, exists bool) bool {
	if r.locks.isWorking(s.ID) {
		return true
	}
	d := r.rules.Decide(s, r.observe(s, c, exists), Command{}, r.opts.now())
	switch {
	case d.Verdict == Adopt:
		return !d.Changed && r.routes.isPublishedAt(s, c.Address)
	case d.Verdict != Keep:
		return false
	case s.Operation != nil || s.Status == session.Running:
		return r.routes.isPublished(s)
	}
	return r.routes.isPublishedAt(s, "")
}

// reconcile makes one record and its container agree. It holds the session's lock and looks at both again, so that no
// operation of this process can come between the look and the deed; one that does is left alone.
func (r *reconciler) reconcile(ctx context.Context, id session.ID) error {
	at, err := r.locks.acquire(id, opReconcile)
	if err != nil {
		return nil //nolint:nilerr // somebody works on it, or the process is stopping
	}
	w := at.Work
	d, seen, err := r.inspect(ctx, id)
	switch {
	case err != nil:
		r.queue.release(w)
		return err
	case d.Verdict == Resume:
		return r.resume(ctx, w, d.Kind)
	case d.Verdict == Restart || d.Verdict == Fail || d.Verdict == Recover:
		return r.queue.handleFailureLocked(ctx, w, seen)
	}
	r.queue.release(w)
	return nil
}

// inspect decides about a session and does what can be done at once. What begins an operation is returned. The caller holds the
// session's lock.
func (r *reconciler) inspect(ctx context.Context, id session.ID) (Decision, Observation, error) {
	s, err := r.duplicates.resolve(ctx, id)
	if session.CodeOf(err) == session.CodeNotFound {
		r.routes.unpublish(id)
		return keep(), Observation{}, nil
	} else if err != nil {
		return Decision{}, Observation{}, err
	}
	stream, begun := r.health.stream(), time.Now()
	c, err := r.runtime.Inspect(ctx, s.ContainerName)
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		return Decision{}, Observation{}, err
	}
	seen := r.observe(s, c, err == nil)
	err = nil
	if s.Status == session.Stopped && seen.Container == Up {
		seen.OthersUnknown = r.opts.Peers.Unreachable(c.StartedAt)
	}
	d := r.rules.Decide(s, seen, Command{}, r.opts.now())
	switch d.Verdict {
	case FindCause:
		seen.Diagnosis = r.diagnoser.diagnose(ctx, s, c, seen.Container == Absent)
		noticed, waiting := r.deferred.of(s.ID)
		seen.OthersUnknown = r.opts.Peers.Unreachable(noticed)
		if d = r.rules.Decide(s, seen, Command{}, r.opts.now()); d.Verdict == Wait {
			r.diagnoser.deferToPeers(ctx, s, noticed, waiting)
			return d, seen, nil
		}
		r.deferred.remove(s.ID)
		return d, seen, r.diagnoser.handleContainerExit(ctx, s, seen)
	case ProbeServer:
		seen.Server = r.probeServer(ctx, s, c)
		d = r.rules.Decide(s, seen, Command{}, r.opts.now())
	}
	if s.Status == session.Running && s.Operation == nil && seen.Diagnosis != nil {
		r.opts.Logger.WarnContext(ctx, "session cannot be reached", "session_id", s.ID, "reason", seen.Diagnosis.Failure.Message)
		r.routes.setAddress(s.ID, "")
	}
	switch d.Verdict {
	case Adopt:
		if err = r.adopt(ctx, s, d.Next, c); s.Status == session.Running {
			r.health.noteRunning(s.ID, stream, begun)
		}
	case Stop:
		err = r.stopNotWorking(ctx, s, c)
	case Resume:
		if s.Operation != nil {
			r.opts.Logger.InfoContext(ctx, "taking up an interrupted operation", "session_id", s.ID, "operation", s.Operation.Kind)
		} else if d.Kind == session.OpStop {
			r.opts.Logger.WarnContext(ctx, "container runs although its session is stopped; stopping it", "session_id", s.ID)
		}
	default:
		if s.Operation == nil && s.Status != session.Running && seen.Container != Up {
			r.routes.setAddress(s.ID, "")
		}
		r.routes.publish(s)
	}
	return d, seen, err
}

// observe turns what the runtime reports into an Observation. A server without an address does not work.
func (r *reconciler) observe(s session.Session, c session.Container, exists bool) Observation {
	seen := Observation{Holder: r.queue.holder(s), Container: containerStateOf(c, exists)}
	if seen.Container == Up && c.Address == "" {
		seen.Server, seen.Diagnosis = NotWorking, unreachableDiagnosis()
	}
	return seen
}

// containerStateOf classifies what the runtime says about a container.
func containerStateOf(c session.Container, exists bool) ContainerState {
	switch {
	case !exists:
		return Absent
	case c.State == session.StateRunning:
		return Up
	case c.State == session.StatePaused || c.State == session.StateChanging:
		return Changing
	}
	return Down
}

// resume begins an operation in the place that is held; someone who was quicker is not an error.
func (r *reconciler) resume(ctx context.Context, w *Work, kind session.Kind) error {
	_, err := r.queue.submitLocked(ctx, w, Command{Kind: kind, Resume: true})
	err = r.reports.reportRefusal(ctx, OperationResult{Operation: string(kind), Session: w.id}, err)
	switch session.CodeOf(err) {
	case session.CodeInProgress, session.CodeConflict, session.CodeNotFound, session.CodeShuttingDown:
		return nil
	}
	return err
}

// adopt learns where a session's server is: this process is new, the container was restarted by someone else, or a session in
// error works after all. next is the record as it is to be.
func (r *reconciler) adopt(ctx context.Context, s, next session.Session, c session.Container) error {
	r.routes.setAddress(s.ID, c.Address)
	if s.Status == next.Status && s.Port == portOf(c.Address) && s.ContainerID == c.ID {
		r.routes.publish(s)
		return nil
	}
	return r.records.changeIf(ctx, s.ID, s.Status, func(now *session.Session) {
		now.Status, now.LastError, now.Port, now.ContainerID = next.Status, next.LastError, portOf(c.Address), c.ID
	})
}

// probeServer probes the server of a session in error, whose container runs as after an outage of the engine in the middle of an
// operation.
func (r *reconciler) probeServer(ctx context.Context, s session.Session, c session.Container) ServerState {
	probe, cancel := context.WithTimeout(ctx, r.opts.ProbeTimeout)
	defer cancel()
	if r.prober.Probe(probe, session.Target{Address: c.Address, Credential: r.keys.Upstream(s.ContainerName), Profile: r.routes.profileOf(s)}) != nil {
		return NotWorking
	}
	r.opts.Logger.InfoContext(ctx, "session in error answers again", "session_id", s.ID)
	return Working
}

// stopNotWorking stops the container of a session in error whose server does not work.
func (r *reconciler) stopNotWorking(ctx context.Context, s session.Session, c session.Container) error {
	r.routes.publish(s)
	if now, err := r.store.Get(ctx, s.ID); err != nil || now.Revision != s.Revision {
		return ignoreNotFound(err) // what has changed is seen to at the next pass
	}
	return r.runtime.Stop(ctx, c.ID, r.opts.StopTimeout)
}
