package lifecycle

import (
	"cmp"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"berth/internal/session"
)

// healthRecords holds what this process has observed of the servers of running sessions and of the engine. It takes no action.
// While its mutex is held no other one is taken.
type healthRecords struct {
	opts    Options
	rules   Rules
	mu      sync.Mutex
	records map[session.ID]*healthRecord
	engine  engineView
}

func newHealthRecords(opts Options, rules Rules) *healthRecords {
	return &healthRecords{
		opts: opts, rules: rules,
		records: map[session.ID]*healthRecord{}, engine: engineView{charged: map[session.ID]time.Time{}},
	}
}

func (h *healthRecords) now() time.Time { return h.opts.now() }

// track updates the health record of a session from its record and its route.
func (h *healthRecords) track(s session.Session, r session.Route) {
	if h.opts.Health.CheckEvery <= 0 {
		return
	}
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	returns := s.Status == session.Stopped && s.StopReason == session.StopEngine && s.Operation != nil
	if s.Status == session.Stopped && !returns {
		delete(h.records, s.ID)
		return
	}
	v, known := h.records[s.ID]
	if !known {
		v = &healthRecord{health: Health{ID: s.ID, State: Unknown, Since: now}, due: now.Add(phase(s.ID, h.opts.Health.CheckEvery))}
		h.records[s.ID] = v
	}
	was := v.operation
	v.operation, v.container, v.health.Restarts = "", s.ContainerName, s.RestartCount
	if s.Operation != nil {
		v.operation, v.outOfMemoryAt = s.Operation.Kind, time.Time{} // its server is started again
	}
	moved := v.target.Address != r.Address
	v.target = session.Target{}
	switch {
	case v.operation == session.OpRestart && isAutomatic(s), h.rules.restartsAgain(s):
		v.setState(Restarting, s.LastError, now)
	case returns:
		v.setState(Restarting, engineStoppedReason, now)
	case v.operation != "" && !s.Operation.Pending():
	case s.Status == session.Error:
		v.setState(Failed, s.LastError, now)
	case s.Status == session.Running && r.Address != "":
		v.target = session.Target{Address: r.Address, Credential: r.Credential, Profile: r.Profile}
		switch {
		case was.BringsUp(): // an operation that ends with a successful probe
			v.health.Failures = 0
			v.setState(Healthy, "", now)
		case moved || v.health.State == Restarting || v.health.State == Failed:
			v.health.Failures = 0
			v.setState(Unknown, "", now)
		}
	}
}

// untrack removes the record of a deleted session.
func (h *healthRecords) untrack(id session.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.records, id)
}

// phase spreads the checks of sessions over an interval: each session has a constant offset in it.
func phase(id session.ID, interval time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return time.Duration(float64(interval) * float64(h.Sum32()) / (1 << 32))
}

// takeDue returns the sessions of which a check is due, and schedules their next ones.
func (h *healthRecords) takeDue() []session.ID {
	now, every := h.now(), h.opts.Health.CheckEvery
	h.mu.Lock()
	defer h.mu.Unlock()
	var due []session.ID
	for id, v := range h.records {
		switch late := now.Sub(v.due); {
		case late < -every, late > every: // the clock was set, or the machine was suspended: do not check all sessions at once
			v.due = now.Add(phase(id, every))
		case late >= 0:
			v.due = v.due.Add(every)
			due = append(due, id)
		}
	}
	return due
}

// probeTarget returns where a session's server is probed, and the name of its container. Without an address it is not probed.
func (h *healthRecords) probeTarget(id session.ID) (target session.Target, container string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[id]
	if !ok {
		return session.Target{}, ""
	}
	return v.target, v.container
}

// noteOutOfMemory records that the kernel killed a process of a session because memory ran out. If that was the server, its exit
// event follows shortly; a probe before that could reach a server that is exiting, and count as a failure.
func (h *healthRecords) noteOutOfMemory(id session.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v, ok := h.records[id]; ok {
		v.outOfMemoryAt = h.now()
	}
}

// ranOutOfMemory reports whether a process of a session was killed because memory ran out since its server was last healthy.
func (h *healthRecords) ranOutOfMemory(id session.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[id]
	return ok && !v.outOfMemoryAt.IsZero()
}

// noteSuccess records a successful check. recovered: the previous check failed; forgive: a healthy period has passed, so that
// earlier restarts no longer count.
func (h *healthRecords) noteSuccess(id session.ID, target session.Target, latency time.Duration) (recovered, forgive bool) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[id]
	if !ok || v.target.Address != target.Address {
		return false, false
	}
	recovered = v.health.State == Unhealthy
	v.addCheck(Check{At: now, State: Healthy, Latency: latency})
	v.setState(Healthy, "", now)
	if v.outOfMemoryAt.Before(now.Add(-latency)) {
		v.outOfMemoryAt = time.Time{}
	}
	return recovered, v.health.Restarts > 0 && now.Sub(v.healthySince) >= h.opts.Health.HealthyPeriod
}

// noteProblem records a failed check. It returns whether the state has changed, and the number of failures in a row; known is
// false if the target is no longer probed.
func (h *healthRecords) noteProblem(id session.ID, target session.Target, c Check) (known, changed bool, failures int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[id]
	if !ok || v.target.Address != target.Address {
		return false, false, 0
	}
	v.addCheck(c)
	changed = v.setState(c.State, c.Reason, c.At)
	return true, changed, v.health.Failures
}

// of returns the health of a session's server; false if this process does not monitor it.
func (h *healthRecords) of(id session.ID) (Health, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.records[id]
	if !ok {
		return Health{}, false
	}
	return v.view(), true
}

// all returns the health of every session that this process monitors, in the order of their IDs.
func (h *healthRecords) all() []Health {
	h.mu.Lock()
	all := make([]Health, 0, len(h.records))
	for _, v := range h.records {
		all = append(all, v.view())
	}
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b Health) int { return cmp.Compare(a.ID, b.ID) })
	return slices.DeleteFunc(all, func(of Health) bool { return !h.opts.Peers.Mine(of.ID) })
}
