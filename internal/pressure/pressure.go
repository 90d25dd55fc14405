// Package pressure measures the host's load: the smoothed fraction of its memory and CPUs in use, with a level: ok, warning, or
// critical, when no more sessions may be started.
//
// It does not know sessions or who is notified: it calls back once for each change.
package pressure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"
)

// Resource is what a host may run short of.
type Resource string

// The resources.
const (
	Memory Resource = "memory"
	CPU    Resource = "cpu"
)

// Level is how short a host is of a resource. Greater is worse.
type Level int

// The levels.
const (
	Unknown  Level = iota - 1 // not measured, or so long ago that it says nothing about now
	OK                        // below every threshold
	Warning                   // an operator should look
	Critical                  // no session may be started
)

// String is the level's name in answers, logs and metrics.
func (l Level) String() string {
	switch l {
	case OK:
		return "ok"
	case Warning:
		return "warning"
	case Critical:
		return "critical"
	case Unknown:
	}
	return "unknown"
}

// Sample is one measurement of a host. Memory and CPU are fractions in use, from 0 to 1.
type Sample struct {
	Memory, CPU           float64
	MemoryStall, CPUStall *Stall // nil: the kernel does not report it
}

// Stall is how much of the last ten seconds, as fractions, some or all tasks that had something to do were waiting for
// the resource.
type Stall struct{ Some, Full float64 }

// Source measures a host.
type Source interface {
	Sample(ctx context.Context) (Sample, error)
}

// Change is the change of a resource's level.
type Change struct {
	Resource  Resource
	From, To  Level
	Value     float64 // smoothed; of Unknown the last one that was measured
	Threshold float64 // that the value has reached, or has fallen below; 0 when To is Unknown, or From is and all is well
}

// Options are a Monitor's settings. Zero means the default given here; Source and the three thresholds are required.
type Options struct {
	Source        Source
	MemoryWarning float64 // fraction in use from which memory is short
	CPUWarning    float64 // the same for CPU time
	Critical      float64 // fraction from which either is critical; 1: nothing ever is

	Interval time.Duration // between two looks; default 2 s
	Hold     time.Duration // for how long a value must be clearly below a threshold before the level falls; default 15 s
	Stale    time.Duration // how old the newest sample may be before the levels are unknown; default 15 s
	// Time constants of the smoothing: a step is followed to two thirds within one of them. CPU time is used in bursts, by
	// every compiler and by every start of a session, and a shortage only slows processes down. A shortage of memory
	// makes the kernel kill processes within seconds.
	MemorySmoothing time.Duration // default 4 s
	CPUSmoothing    time.Duration // default 10 s

	Elsewhere bool         // sessions run on another host than the measured one, which the messages then say
	OnChange  func(Change) // called with every change, in order; must not wait; may be nil
	Logger    *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Interval = cmp.Or(o.Interval, 2*time.Second)
	o.Hold = cmp.Or(o.Hold, 15*time.Second)
	o.Stale = cmp.Or(o.Stale, 15*time.Second)
	o.MemorySmoothing = cmp.Or(o.MemorySmoothing, 4*time.Second)
	o.CPUSmoothing = cmp.Or(o.CPUSmoothing, 10*time.Second)
	if o.OnChange == nil {
		o.OnChange = func(Change) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	var faults []error
	if o.Source == nil {
		faults = append(faults, errors.New("a source must be given"))
	}
	for resource, warning := range map[Resource]float64{Memory: o.MemoryWarning, CPU: o.CPUWarning} {
		if !(warning > 0 && warning < o.Critical && o.Critical <= 1) { // also refuses what is not a number
			faults = append(faults, fmt.Errorf("the thresholds of %s are %v and %v; they must be above 0, the first below the second, which is at most 1",
				resource, warning, o.Critical))
		}
	}
	return errors.Join(faults...)
}

// Monitor watches one host. Make it with [New]; [Monitor.Run] must be running for it to know anything. It is safe for
// concurrent use.
type Monitor struct {
	opts Options

	mu     sync.Mutex
	gauges [2]gauge  // memory, CPU
	seen   time.Time // of the newest sample; zero: there is none
	fresh  time.Time // the same, or when Run began
	silent bool      // the source has failed, and that was logged
}

// New checks the options. It starts nothing.
func New(opts Options) (*Monitor, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("watch the host's resources: %w", err)
	}
	m := &Monitor{opts: opts, gauges: [2]gauge{
		{resource: Memory, smoothing: opts.MemorySmoothing},
		{resource: CPU, smoothing: opts.CPUSmoothing, bursty: true},
	}}
	return m, m.Adjust(opts.MemoryWarning, opts.CPUWarning, opts.Critical)
}

// Adjust changes the thresholds from the next sample on. Invalid ones change nothing and are an error.
func (m *Monitor) Adjust(memoryWarning, cpuWarning, critical float64) error {
	next := m.opts
	next.MemoryWarning, next.CPUWarning, next.Critical = memoryWarning, cpuWarning, critical
	if err := next.validate(); err != nil {
		return fmt.Errorf("watch the host's resources: %w", err)
	}
	if critical >= 1 {
		critical = math.Inf(1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, warning := range []float64{memoryWarning, cpuWarning} {
		m.gauges[i].threshold = [...]float64{Warning: warning, Critical: critical}
	}
	return nil
}

// Run samples the host until ctx ends, and returns nil then. A failing source does not end it.
func (m *Monitor) Run(ctx context.Context) error {
	m.mu.Lock()
	m.fresh = time.Now()
	m.mu.Unlock()
	tick := time.NewTicker(m.opts.Interval)
	defer tick.Stop()
	for {
		m.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (m *Monitor) look(ctx context.Context) {
	sample, err := m.opts.Source.Sample(ctx)
	if err == nil {
		err = sample.check()
	}
	if ctx.Err() != nil {
		return
	}
	var changes []Change
	if err != nil {
		changes = m.missed(ctx, err)
	} else {
		changes = m.take(ctx, sample)
	}
	for _, c := range changes {
		m.opts.OnChange(c)
	}
}

func (s Sample) check() error {
	for resource, value := range map[Resource]float64{Memory: s.Memory, CPU: s.CPU} {
		if !(value >= 0 && value <= 1) { // also refuses what is not a number
			return fmt.Errorf("%s in use is reported as %v, which is no fraction", resource, value)
		}
	}
	return nil
}

// missed keeps the last sample, until it is too old.
func (m *Monitor) missed(ctx context.Context, err error) []Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.silent {
		m.silent = true
		m.opts.Logger.WarnContext(ctx, "host resources not measured, trying again", "error", err)
	}
	now := time.Now()
	if !m.stale(now) {
		return nil
	}
	var changes []Change
	for i := range m.gauges {
		g := &m.gauges[i]
		if before := g.level; before != Unknown {
			g.level, g.since = Unknown, now
			changes = append(changes, Change{Resource: g.resource, From: before, To: Unknown, Value: g.value})
		}
	}
	return changes
}

func (m *Monitor) take(ctx context.Context, s Sample) []Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.silent {
		m.silent = false
		m.opts.Logger.InfoContext(ctx, "host resources measured again")
	}
	elapsed := now.Sub(m.seen)
	if m.seen.IsZero() || m.stale(now) { // nothing to smooth with
		elapsed = first
	}
	m.seen, m.fresh = now, now
	m.gauges[0].stall, m.gauges[1].stall = s.MemoryStall, s.CPUStall
	var changes []Change
	for i, value := range []float64{s.Memory, s.CPU} {
		if c, changed := m.gauges[i].take(now, elapsed, m.opts.Hold, value); changed {
			changes = append(changes, c)
		}
	}
	return changes
}

// stale reports whether the newest sample is too old. Call it with the lock held.
func (m *Monitor) stale(now time.Time) bool { return now.Sub(m.fresh) > m.opts.Stale }
