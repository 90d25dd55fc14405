package lifecycle

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"berth/internal/session"
)

// HealthState is the result of the last health checks of a session's server.
type HealthState string

// The five states of the contract.
const (
	Healthy    HealthState = "HEALTHY"    // it works, and answers in time
	Unhealthy  HealthState = "UNHEALTHY"  // it does not; after Threshold failures in a row it is restarted
	Restarting HealthState = "RESTARTING" // a restart is in progress or scheduled
	Failed     HealthState = "FAILED"     // the session is in error; there is no further automatic restart
	Unknown    HealthState = "UNKNOWN"    // not checked yet, or the engine is unavailable
)

// HealthOptions are the settings of health checks and automatic restarts. Zero means the default given here.
type HealthOptions struct {
	CheckEvery    time.Duration // interval between two checks of one session; 0: no checks and no restarts
	Timeout       time.Duration // of one check; default 10 s
	Threshold     int           // failures in a row after which a server is restarted; default 3
	MaxRestarts   int           // restarts in a row without a healthy period; 0: nothing is restarted
	RestartDelay  time.Duration // before the first restart; doubled with each further one; default 5 s
	HealthyPeriod time.Duration // after which earlier restarts no longer count; default 10 min
}

func (o HealthOptions) withDefaults() HealthOptions {
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Threshold = cmp.Or(o.Threshold, 3)
	o.RestartDelay = cmp.Or(o.RestartDelay, 5*time.Second)
	o.HealthyPeriod = cmp.Or(o.HealthyPeriod, 10*time.Minute)
	return o
}

// restartsEnabled reports whether a server that fails is restarted.
func (o HealthOptions) restartsEnabled() bool { return o.CheckEvery > 0 && o.MaxRestarts > 0 }

// delay is how long to wait before the n-th restart in a row: doubled each time, with jitter.
func (o HealthOptions) delay(n int) time.Duration {
	d := min(o.RestartDelay<<min(n-1, 10), longestDelay)
	return d + rand.N(d/5+1) //nolint:gosec // not a secret
}

// Cause is the cause of a failure, as a label of metrics.
type Cause string

// The causes.
const (
	CauseExited Cause = "exited"          // its server ended by itself
	CauseMemory Cause = "out_of_memory"   // it was killed by the kernel because memory ran out
	CauseKilled Cause = "killed"          // it was killed, and the engine does not say why
	CauseGone   Cause = "container_gone"  // its container was removed or renamed through the engine's API
	CauseByHand Cause = "stopped_by_hand" // its container was stopped or killed through the engine's API
	CauseEngine Cause = "engine"          // the engine was stopped or restarted; never counted
	CauseHangs  Cause = "hangs"           // it reports that it is healthy and does no work
	CauseSilent Cause = "not_answering"   // it runs and does not answer, or not correctly
	CauseStart  Cause = "start_failed"    // it could not be started
)

// Check is the result of one health check.
type Check struct {
	At      time.Time
	State   HealthState
	Latency time.Duration // of the answer; 0: there was none
	Reason  string        // a phrase without a full stop; empty if healthy
}

// maxHistory is how many checks are kept of each session.
const maxHistory = 20

// Health is the health of a session's server as this process has observed it.
type Health struct {
	ID       session.ID
	State    HealthState
	Since    time.Time // time of the last change of State
	Reason   string    // a phrase without a full stop; empty if healthy
	Failures int       // in a row
	Restarts int       // automatic ones since the last healthy period

	TotalChecks, HealthyChecks, FailedChecks int64 // since this process started
	AverageResponse                          time.Duration
	History                                  []Check // the oldest first
}

// healthRecord is what the monitor keeps of a session. Guarded by healthRecords.mu.
type healthRecord struct {
	health          Health
	target          session.Target // zero address: the server is not probed
	container       string         // its name
	operation       session.Kind   // operation in progress when the record was last read
	totalLatency    time.Duration
	healthySince    time.Time     // since when it has been healthy; zero: it is not
	due             time.Time     // time of the next check
	runningInStream int           // event stream during which its container was last seen running; 0: none
	signalledAt     time.Time     // time of the last stop or kill signal sent through the engine; zero: none since it was seen running
	exitedAt        time.Time     // time of the last exit event; zero: none since it was seen running
	changed         chan struct{} // closed when there is new evidence of its exit; nil: no waiter
	outOfMemoryAt   time.Time     // when the kernel last killed one of its processes because memory ran out; zero: not since its server was last healthy
}

// notifyChange wakes the waiters for exit evidence.
func (v *healthRecord) notifyChange() {
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

// setState sets the health state and its reason.
func (v *healthRecord) setState(state HealthState, reason string, now time.Time) (changed bool) {
	changed = v.health.State != state
	if changed {
		v.health.Since = now
	}
	v.health.State, v.health.Reason = state, reason
	if state != Healthy {
		v.healthySince = time.Time{}
	} else if v.healthySince.IsZero() {
		v.healthySince = now
	}
	return changed
}

// addCheck adds a check to the counts and the history.
func (v *healthRecord) addCheck(c Check) {
	h := &v.health
	h.TotalChecks++
	if c.State == Healthy {
		h.HealthyChecks++
		v.totalLatency += c.Latency
		h.AverageResponse = v.totalLatency / time.Duration(h.HealthyChecks)
		h.Failures = 0
	} else if c.State == Unhealthy {
		h.FailedChecks++
		h.Failures++
	}
	if len(h.History) == maxHistory {
		h.History = slices.Delete(h.History, 0, 1)
	}
	h.History = append(h.History, c)
}

func (v *healthRecord) view() Health {
	h := v.health
	h.History = slices.Clone(h.History)
	return h
}

// longestDelay bounds the doubling of the delay before a restart.
const longestDelay = 5 * time.Minute
