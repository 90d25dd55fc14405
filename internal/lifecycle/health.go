package lifecycle

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"berth/internal/session"
)

// HealthState is how a session's server was found when somebody last looked.
type HealthState string

// The five states of the contract.
const (
	Healthy    HealthState = "HEALTHY"    // it does real work in time
	Unhealthy  HealthState = "UNHEALTHY"  // it does not; after some failures in a row it is restarted
	Restarting HealthState = "RESTARTING" // it is being restarted, or waits for that
	Failed     HealthState = "FAILED"     // it is in error, and nobody restarts it any more
	Unknown    HealthState = "UNKNOWN"    // nobody has looked yet, or the engine cannot be asked
)

// HealthOptions say how sessions are looked after. Zero means the default given here.
type HealthOptions struct {
	CheckEvery    time.Duration // between two looks at one session; 0: nobody looks, and nothing is restarted
	Timeout       time.Duration // of one look; default 10 s
	Threshold     int           // failures in a row after which a server is restarted; default 3
	MaxRestarts   int           // restarts in a row without a healthy period; 0: nothing is restarted
	RestartDelay  time.Duration // before the first restart; doubled with each further one; default 5 s
	HealthyPeriod time.Duration // after which earlier restarts are forgotten; default 10 min
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

// delay is how long to wait before the n-th restart in a row: doubled each time, and never the same for two sessions.
func (o HealthOptions) delay(n int) time.Duration {
	d := min(o.RestartDelay<<min(n-1, 10), longestDelay)
	return d + rand.N(d/5+1) //nolint:gosec // not a secret
}

// Cause is why a session failed, for whoever counts.
type Cause string

// The causes.
const (
	CauseExited Cause = "exited"          // its server ended by itself
	CauseMemory Cause = "out_of_memory"   // it was killed by the kernel because memory ran out
	CauseKilled Cause = "killed"          // it was killed, and the engine does not say why
	CauseGone   Cause = "container_gone"  // somebody has removed or renamed its container
	CauseByHand Cause = "stopped_by_hand" // somebody has stopped or killed its container with the engine's own tools
	CauseEngine Cause = "engine"          // the engine was stopped or restarted; never counted
	CauseHangs  Cause = "hangs"           // it says that it is well and does no work
	CauseSilent Cause = "not_answering"   // it runs and does not answer as it should
	CauseStart  Cause = "start_failed"    // it could not be started
)

// Check is one look at a session.
type Check struct {
	At      time.Time
	State   HealthState
	Latency time.Duration // of the answer; 0: there was none
	Reason  string        // half a sentence; empty when all is well
}

// maxHistory is how many checks are remembered of each session.
const maxHistory = 20

// Health is what is known of a session's server.
type Health struct {
	ID       session.ID
	State    HealthState
	Since    time.Time // when it came into this state
	Reason   string    // half a sentence; empty when all is well
	Failures int       // in a row
	Restarts int       // automatic ones since the last healthy period

	TotalChecks, HealthyChecks, FailedChecks int64 // in the life of this process
	AverageResponse                          time.Duration
	History                                  []Check // the oldest first
}

// healthRecord is what the monitor keeps of a session. Guarded by healthRecords.mu.
type healthRecord struct {
	health          Health
	target          session.Target // zero address: there is nothing to look at
	container       string         // its name
	operation       session.Kind   // operation that was going on when the record was last seen
	totalLatency    time.Duration
	healthySince    time.Time     // since when it has been well without a break; zero: it is not
	due             time.Time     // when it is looked at next
	runningInStream int           // event stream during which its container was last seen running; 0: none
	signalledAt     time.Time     // when somebody last had the engine send it a signal to end; zero: not since it was seen running
	exitedAt        time.Time     // when the engine last told of its end; zero: not since it was seen running
	changed         chan struct{} // closed when more is known of its end; nil: nobody waits
	outOfMemoryAt   time.Time     // when something of it was last killed by the kernel because memory ran out; zero: not since its server was last well
}

// notifyChange wakes waiters for exit evidence.
func (v *healthRecord) notifyChange() {
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

// setState moves a session into a state.
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

// addCheck records a check.
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
