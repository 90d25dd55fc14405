package pressure

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Snapshot is what a Monitor knows at a moment.
type Snapshot struct {
	At          time.Time // of the newest sample, UTC; zero: there is none yet
	Memory, CPU State
}

// State is how one resource is. Value is the last one that was measured also when the level is Unknown.
type State struct {
	Value float64 // fraction in use, smoothed
	Level Level
	Since time.Time // since when it has that level, UTC
	Stall *Stall    // nil: the kernel does not report it
	Alert *Alert    // nil: neither warning nor critical
}

// Alert says that a resource is short.
type Alert struct {
	Resource  Resource
	Level     Level // Warning or Critical
	Value     float64
	Threshold float64 // that the value has reached
	Since     time.Time
	Sentence  string // for people, like "host memory at 96 %, critical from 95 %"
}

// Alerts lists what is short, memory first; never nil.
func (s Snapshot) Alerts() []Alert {
	alerts := []Alert{}
	for _, state := range []State{s.Memory, s.CPU} {
		if state.Alert != nil {
			alerts = append(alerts, *state.Alert)
		}
	}
	return alerts
}

// Level is the worst of the two; Unknown only when neither is worse than OK and one is unknown.
func (s Snapshot) Level() Level {
	if worst := max(s.Memory.Level, s.CPU.Level); worst > OK {
		return worst
	}
	return min(s.Memory.Level, s.CPU.Level)
}

// Snapshot returns the present state.
func (m *Monitor) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := !m.seen.IsZero() && !m.stale(time.Now())
	s := Snapshot{Memory: m.state(m.gauges[0], known), CPU: m.state(m.gauges[1], known)}
	if !m.seen.IsZero() {
		s.At = m.seen.UTC()
	}
	return s
}

func (m *Monitor) state(g gauge, known bool) State {
	s := State{Value: g.value, Level: g.level, Since: g.since.UTC(), Stall: g.stall}
	if !known {
		s.Level, s.Stall = Unknown, nil
	}
	if s.Level > OK {
		s.Alert = &Alert{
			Resource: g.resource, Level: g.level, Value: g.value, Threshold: g.threshold[g.level], Since: s.Since,
			Sentence: m.sentence(g),
		}
	}
	return s
}

// sentence says how short a resource is, and what is missing for its recovery when it is falling.
func (m *Monitor) sentence(g gauge) string {
	threshold := g.threshold[g.level]
	text := fmt.Sprintf("%s at %s, %s from %s", m.name(g.resource), percent(g.value), g.level, percent(threshold))
	if g.value < threshold {
		text += fmt.Sprintf(" until it has been below %s for %s", percent(g.exit(g.level)), m.opts.Hold)
	}
	return text
}

func (m *Monitor) name(r Resource) string {
	name := map[Resource]string{Memory: "memory", CPU: "CPU"}[r]
	if m.opts.Elsewhere {
		return name + " of Berth's own machine"
	}
	return "host " + name
}

// percent formats a fraction with at most one decimal, rounded down: a value below a threshold never reads as the threshold.
func percent(fraction float64) string {
	const tenths, rounding = 1000, 1e-6
	return strconv.FormatFloat(math.Floor(fraction*tenths+rounding)/10, 'f', -1, 64) + " %"
}
