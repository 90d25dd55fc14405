// Package workspace measures the volumes of sessions, warns when one is too large, and stops sessions over a hard limit.
//
// It knows directories and sizes, and no engine: the [session.Runtime] says where volumes are, and they are measured only where
// Berth runs on the engine's host and may read them.
package workspace

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"berth/internal/session"
)

// Level is how much of the allowed size a session takes.
type Level int

// The levels.
const (
	OK      Level = iota // below the warning
	Warning              // at the warning or above
	Over                 // at the limit or above
)

// Size is one measurement of a session.
type Size struct {
	Bytes   session.Bytes // of its volumes on disk; at least so much when Partial
	Partial bool          // the measurement was cut short: there are too many files
	Excess  bool          // there are more files, or deeper ones, than are ever measured: over any limit
	At      time.Time
	Level   Level
}

// Options are the settings. Containers is required.
type Options struct {
	Containers func(context.Context) ([]session.Container, error) // all of this installation
	Every      time.Duration                                      // between two passes; default 5 min
	Warning    session.Bytes                                      // from which a warning is logged; 0: never
	Limit      session.Bytes                                      // from which a running session is stopped; 0: never
	Stop       func(context.Context, session.ID) error            // stops a session; required with Limit
	Logger     *slog.Logger                                       // default: none
}

// Monitor measures sessions one after the other.
type Monitor struct {
	opts Options

	mu         sync.Mutex
	sizes      map[session.ID]Size
	unreadable bool // nothing could be measured in the last pass, and that was logged
	passed     time.Time
}

// New checks the options. It starts nothing.
func New(opts Options) (*Monitor, error) {
	if opts.Containers == nil || opts.Limit > 0 && opts.Stop == nil {
		return nil, errors.New("workspace monitor: Containers is required, and Stop with a limit")
	}
	opts.Every = cmp.Or(opts.Every, 5*time.Minute)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Monitor{opts: opts, sizes: map[session.ID]Size{}}, nil
}

// Run measures all sessions repeatedly until ctx ends, and returns nil then.
func (m *Monitor) Run(ctx context.Context) error {
	again := time.NewTicker(m.opts.Every)
	defer again.Stop()
	for {
		m.pass(ctx)
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// pass measures every session once. A session that cannot be measured has no size.
func (m *Monitor) pass(ctx context.Context) {
	containers, err := m.opts.Containers(ctx)
	if err != nil {
		return // an unavailable engine is logged elsewhere; earlier sizes stay
	}
	there := make(map[session.ID]bool, len(containers))
	var unreadable error
	measured := 0
	for _, c := range containers {
		there[c.Session] = true
		size, err := m.one(ctx, c)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			unreadable = err
			m.forget(c.Session)
			continue
		}
		measured++
		m.judge(ctx, c, size)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.sizes {
		if !there[id] {
			delete(m.sizes, id)
		}
	}
	dark := measured == 0 && unreadable != nil
	if dark && !m.unreadable {
		m.opts.Logger.InfoContext(ctx, "workspace sizes not known: volumes cannot be read from here", "error", unreadable)
	}
	m.unreadable, m.passed = dark, time.Now().UTC()
}

// one measures a session. A file system that does not answer blocks the walk, but not the caller.
func (m *Monitor) one(ctx context.Context, c session.Container) (Size, error) {
	if len(c.Volumes) == 0 {
		return Size{}, errors.New("the runtime does not say where the volumes are")
	}
	type result struct {
		size Size
		err  error
	}
	done := make(chan result, 1)
	go func() {
		found, err := measure(ctx, c.Volumes)
		done <- result{Size{Bytes: session.Bytes(found.bytes), Partial: found.partial, Excess: found.excess, At: time.Now().UTC()}, err}
	}()
	select {
	case r := <-done:
		return r.size, r.err
	case <-ctx.Done():
		return Size{}, context.Cause(ctx)
	}
}

// judge stores a measurement, and logs or stops a session that is too large.
func (m *Monitor) judge(ctx context.Context, c session.Container, size Size) {
	switch {
	case m.opts.Limit > 0 && (size.Bytes >= m.opts.Limit || size.Excess):
		size.Level = Over
	case m.opts.Warning > 0 && size.Bytes >= m.opts.Warning:
		size.Level = Warning
	}
	m.mu.Lock()
	before := m.sizes[c.Session].Level
	m.sizes[c.Session] = size
	m.mu.Unlock()
	log := m.opts.Logger.With("session_id", c.Session, "bytes", int64(size.Bytes))
	switch {
	case size.Level > before && size.Level == Over:
		reason := "size"
		if size.Bytes < m.opts.Limit {
			reason = "more files, or deeper directories, than can be measured"
		}
		log.WarnContext(ctx, "workspace is over its limit", "limit", m.opts.Limit.String(), "reason", reason)
	case size.Level > before:
		log.WarnContext(ctx, "workspace is large", "warning", m.opts.Warning.String())
	case size.Level < before && size.Level == OK:
		log.InfoContext(ctx, "workspace is below the warning again")
	}
	if size.Level == Over && c.State == session.StateRunning {
		if err := m.opts.Stop(ctx, c.Session); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "session over its limit not stopped; the next measurement tries again", "error", err)
		}
	}
}

func (m *Monitor) forget(id session.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sizes, id)
}

// Size returns the newest measurement of a session; false when there is none.
func (m *Monitor) Size(id session.ID) (Size, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sizes[id]
	return s, ok
}

// Summary is the total of all sessions.
type Summary struct {
	Measured int // sessions
	Bytes    session.Bytes
	Largest  session.Bytes
	Warned   int       // sessions at the warning or above
	Over     int       // of them, those at the limit or above
	At       time.Time // end of the newest pass; zero: there was none
}

// Summary adds up the newest measurements.
func (m *Monitor) Summary() Summary {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := Summary{Measured: len(m.sizes), At: m.passed}
	for _, s := range m.sizes {
		sum.Bytes += s.Bytes
		sum.Largest = max(sum.Largest, s.Bytes)
		if s.Level >= Warning {
			sum.Warned++
		}
		if s.Level == Over {
			sum.Over++
		}
	}
	return sum
}
