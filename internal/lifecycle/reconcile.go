package lifecycle

import (
	"context"
	"sync"
	"time"

	"berth/internal/session"
)

// reconciler compares records and containers, and submits the differences to the queue.
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

// reconcileAll makes one pass over every record and every container. If one of the lists cannot be read it changes nothing, because
// a container without a record could then not be told from an orphan. Sessions of another process are followed, not changed.
func (r *reconciler) reconcileAll(ctx context.Context) error {
	ctx = r.opts.Tracer.Start(ctx)
	// Containers first: a record is written before its container is created, so that a container without a record in the later
	// list has none.
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

// maxConcurrentReconciles is how many sessions are reconciled at once: a server that does not answer or does not exit must not
// delay the other sessions.
const maxConcurrentReconciles = 16

// isReconciled reports whether the lists show nothing to do for a session. They may be out of date, so nothing is changed here.
func (r *reconciler) isReconciled(s session.Session, c session.Container, exists bool) bool {
	if r.locks.isWorking(s.ID) {
		return true
	}
	d := r.rules.Decide(s, r.observe(s, c, exists), Command{}, r.opts.now())
	switch {
	case d.Verdict == Adopt:
		return !d.Changed && r.routes.isPublishedAt(s, placeOf(c))
	case d.Verdict != Keep:
		return false
	case s.Operation != nil || s.Status == session.Running:
		return r.routes.isPublished(s)
	}
	return r.routes.isPublishedAt(s, place{})
}

// reconcile reconciles one session. It holds the session's lock while it reads the record and inspects the container again, so that
// no operation of this process comes between observation and action. It does nothing while an operation is in progress.
func (r *reconciler) reconcile(ctx context.Context, id session.ID) error {
	at, err := r.locks.acquire(id, opReconcile)
	if err != nil {
		return nil //nolint:nilerr // an operation is in progress, or the process is stopping
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

// inspect decides about a session, and carries the decision out unless it begins an operation, in which case it returns it. The
// caller holds the session's lock.
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
		r.routes.setPlace(s.ID, place{})
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
			r.opts.Logger.InfoContext(ctx, "resuming an interrupted operation", "session_id", s.ID, "operation", s.Operation.Kind)
		} else if d.Kind == session.OpStop {
			r.opts.Logger.WarnContext(ctx, "container runs although its session is stopped; stopping it", "session_id", s.ID)
		}
	default:
		if s.Operation == nil && s.Status != session.Running && seen.Container != Up {
			r.routes.setPlace(s.ID, place{})
		}
		r.routes.publish(s)
	}
	return d, seen, err
}

// observe turns the result of an inspection into an Observation. A server without an address does not work.
func (r *reconciler) observe(s session.Session, c session.Container, exists bool) Observation {
	seen := Observation{Holder: r.queue.holder(s), Container: containerStateOf(c, exists)}
	if seen.Container == Up && c.Address == "" {
		seen.Server, seen.Diagnosis = NotWorking, unreachableDiagnosis()
	}
	return seen
}

// containerStateOf classifies the result of an inspection.
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

// resume begins an operation with the lock that is held. A conflicting change by another process is not an error.
func (r *reconciler) resume(ctx context.Context, w *Work, kind session.Kind) error {
	_, err := r.queue.submitLocked(ctx, w, Command{Kind: kind, Resume: true})
	err = r.reports.reportRefusal(ctx, OperationResult{Operation: string(kind), Session: w.id}, err)
	switch session.CodeOf(err) {
	case session.CodeInProgress, session.CodeConflict, session.CodeNotFound, session.CodeShuttingDown:
		return nil
	}
	return err
}

// adopt records and publishes the observed address of a session's server: this process is new, the container was restarted through
// the engine's API, or a session in error works. next is the record to write.
func (r *reconciler) adopt(ctx context.Context, s, next session.Session, c session.Container) error {
	r.routes.setPlace(s.ID, placeOf(c))
	if s.Status == next.Status && s.Port == portOf(c.Address) && s.ContainerID == c.ID {
		r.routes.publish(s)
		return nil
	}
	return r.records.changeIf(ctx, s.ID, s.Status, func(now *session.Session) {
		now.Status, now.LastError, now.Port, now.ContainerID = next.Status, next.LastError, portOf(c.Address), c.ID
	})
}

// probeServer probes the server of a session in error of which the container runs, for example after an outage of the engine during
// an operation.
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
		return ignoreNotFound(err) // a change meanwhile is handled by the next pass
	}
	return r.runtime.Stop(ctx, c.ID, r.opts.StopTimeout)
}
