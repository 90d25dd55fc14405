package session

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"
)

// Run takes up interrupted work and makes records and containers agree, at once and then at intervals, and writes
// activity to the store. It returns when ctx ends, with nil. ready is called after the first pass that succeeded.
func (m *Manager) Run(ctx context.Context, ready func()) error {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := detach(ctx)
			defer cancel()
			return m.flush(last)
		case <-flush.C:
			if err := m.flush(ctx); err != nil && ctx.Err() == nil {
				m.opts.Logger.WarnContext(ctx, "activity not written, kept for later", "error", err)
			}
		case <-wait.C:
			wait.Reset(m.opts.ReconcileEvery)
			if err := m.Reconcile(ctx); err != nil {
				if ctx.Err() == nil {
					m.opts.Logger.ErrorContext(ctx, "reconciliation skipped", "error", err)
				}
			} else if ready != nil {
				ready()
				ready = nil
			}
		}
	}
}

// Reconcile makes one pass over every record and every container. When either list cannot be had it changes nothing:
// what is not known is not an orphan.
func (m *Manager) Reconcile(ctx context.Context) error {
	// Containers first: a record is older than its container, so that a container of this list without a record in
	// the later list has none.
	containers, err := m.runtime.List(ctx)
	if err != nil {
		return err
	}
	page, err := m.store.List(ctx, Query{})
	if err != nil {
		return err
	}
	byName := make(map[string]Container, len(containers))
	for _, c := range containers {
		byName[c.Name] = c
	}
	var faults []error
	for _, s := range page.Sessions {
		c, exists := byName[s.ContainerName]
		delete(byName, s.ContainerName)
		faults = append(faults, m.agree(ctx, s, c, exists))
	}
	for _, orphan := range byName {
		faults = append(faults, m.removeOrphan(ctx, orphan))
	}
	return errors.Join(faults...)
}

// agree makes one record and its container agree.
func (m *Manager) agree(ctx context.Context, s Session, c Container, exists bool) error {
	up := exists && c.State == StateRunning
	switch {
	case m.isWorking(s.ID):
		return nil
	case s.Operation != nil:
		return m.resume(ctx, s)
	case s.Status == Running && up:
		if m.isPublished(s.ID, c.Address) {
			return nil
		}
		return m.adopt(ctx, s, c)
	case s.Status == Running && exists && (c.State == StatePaused || c.State == StateRestarting):
		return nil // on its way somewhere: look again at the next pass
	case s.Status == Running:
		return m.lost(ctx, s, c, exists)
	case s.Status == Error && up:
		return m.rescue(ctx, s, c)
	case s.Status == Stopped && up:
		m.opts.Logger.WarnContext(ctx, "container runs although its session is stopped; stopping it", "session_id", s.ID)
		return m.again(ctx, s, OpStop)
	default:
		if !m.isPublished(s.ID, "") {
			m.publish(s)
		}
		return nil
	}
}

func (m *Manager) isWorking(id ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.working[id] != nil
}

// resume takes over an operation whose owner is gone.
func (m *Manager) resume(ctx context.Context, s Session) error {
	if !m.abandoned(s) {
		return nil
	}
	m.opts.Logger.InfoContext(ctx, "taking up an interrupted operation", "session_id", s.ID, "operation", s.Operation.Kind)
	return m.again(ctx, s, s.Operation.Kind)
}

// again begins an operation for the reconciler; someone who was quicker is not an error.
func (m *Manager) again(ctx context.Context, s Session, kind Kind) error {
	_, err := m.begin(ctx, s.ID, kind)
	switch CodeOf(err) {
	case CodeInProgress, CodeConflict, CodeNotFound, CodeShuttingDown:
		return nil
	}
	return err
}

// adopt learns where a running session is: this process is new, or the container was restarted by someone else.
func (m *Manager) adopt(ctx context.Context, s Session, c Container) error {
	m.locate(s.ID, c.Address)
	if s.Port == portOf(c.Address) && s.ContainerID == c.ID {
		m.publish(s)
		return nil
	}
	_, err := m.change(ctx, s.ID, func(s *Session) error {
		s.Port, s.ContainerID = portOf(c.Address), c.ID
		return nil
	})
	return err
}

// lost records that a session's container has stopped or gone without our doing.
func (m *Manager) lost(ctx context.Context, s Session, c Container, exists bool) error {
	why := Errorf(CodeNotRunning, "the container is gone; start the session to get a new one on the same workspace")
	if exists {
		why = Errorf(CodeNotRunning, "the server ended by itself with code %d; start the session again, or see its logs", c.ExitCode)
		if c.OOMKilled {
			why = Errorf(CodeNotRunning, "the server was killed because it ran out of memory; start the session again, or raise CONTAINER_MEMORY_LIMIT")
		}
	}
	m.locate(s.ID, "")
	_, err := m.change(ctx, s.ID, func(now *Session) error {
		if now.Status != Running || now.Operation != nil {
			return errChanged
		}
		now.Status, now.LastError, now.Port = Error, why.Message, 0
		return nil
	})
	if errors.Is(err, errChanged) {
		return nil
	}
	m.opts.Logger.WarnContext(ctx, "session lost its container", "session_id", s.ID, "reason", why.Message)
	return err
}

var errChanged = errors.New("the session has changed meanwhile")

// rescue looks at a session in error whose container runs, as after an outage of the engine in the middle of an
// operation: one that answers is running after all, any other is stopped.
func (m *Manager) rescue(ctx context.Context, s Session, c Container) error {
	probe, cancel := context.WithTimeout(ctx, m.opts.ProbeTimeout)
	defer cancel()
	err := m.prober.Probe(probe, Target{Address: c.Address, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s)})
	if err != nil {
		return m.runtime.Stop(ctx, c.ID, m.opts.StopTimeout)
	}
	m.locate(s.ID, c.Address)
	_, err = m.change(ctx, s.ID, func(now *Session) error {
		if now.Status != Error || now.Operation != nil {
			return errChanged
		}
		now.Status, now.LastError, now.Port, now.ContainerID = Running, "", portOf(c.Address), c.ID
		return nil
	})
	if errors.Is(err, errChanged) {
		return nil
	}
	m.opts.Logger.InfoContext(ctx, "session in error answers again", "session_id", s.ID)
	return err
}

// removeOrphan removes a container of this installation that no record knows, when it is old enough that its record
// cannot be on its way. Its volumes stay: they may be all that is left of somebody's work.
func (m *Manager) removeOrphan(ctx context.Context, c Container) error {
	age := m.now().Sub(c.CreatedAt)
	if c.CreatedAt.IsZero() || age < m.opts.OrphanGrace {
		return nil
	}
	m.opts.Logger.WarnContext(ctx, "removing a container without a session", "container", c.Name, "session_id", c.Session,
		"state", c.State, "age", age.Round(time.Second))
	return m.runtime.Remove(ctx, c.ID, true)
}

// portOf returns the port of "ip:port", 0 when there is none.
func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}
