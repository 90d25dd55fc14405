package app

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/session"
)

// callBuckets are in seconds: a look takes a millisecond, a stop as long as a server may take to end.
var callBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// stopwatch measures calls by name and outcome: ok, or the code of the failure.
type stopwatch struct{ seconds *prometheus.HistogramVec }

func newStopwatch(name, help string) stopwatch {
	return stopwatch{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: callBuckets}, []string{"call", "outcome"})}
}

func (s stopwatch) stop(call string, begun time.Time, err error) (took time.Duration, outcome string) {
	took, outcome = time.Since(begun), string(session.CodeOf(err))
	if outcome == "" {
		outcome = "ok"
	}
	s.seconds.WithLabelValues(call, outcome).Observe(took.Seconds())
	return took, outcome
}

// timedRuntime measures every call of the engine, and writes each down at DEBUG.
type timedRuntime struct {
	session.Runtime
	watch stopwatch
	log   *slog.Logger
	trail func(ctx context.Context, call, container, outcome string) // of calls that change something
}

// changed notes a call that changes something.
func (r timedRuntime) changed(ctx context.Context, call, ref string, begun time.Time, err error) {
	r.trail(ctx, call, ref, r.done(ctx, call, ref, begun, err))
}

// done notes a call that concerned a container; ref is empty for one that concerned all.
func (r timedRuntime) done(ctx context.Context, call, ref string, begun time.Time, err error) (outcome string) {
	took, outcome := r.watch.stop(call, begun, err)
	if !r.log.Enabled(ctx, slog.LevelDebug) {
		return outcome
	}
	attrs := []slog.Attr{
		slog.String("operation", call), slog.Float64("duration_ms", float64(took.Microseconds())/1000), slog.String("outcome", outcome),
	}
	if ref != "" {
		attrs = append(attrs, slog.String("container", ref))
	}
	r.log.LogAttrs(ctx, slog.LevelDebug, "engine called", attrs...)
	return outcome
}

// Create implements [session.Runtime].
func (r timedRuntime) Create(ctx context.Context, spec session.Spec) (c session.Container, err error) {
	defer func(begun time.Time) { r.changed(ctx, "create", spec.Name, begun, err) }(time.Now())
	return r.Runtime.Create(ctx, spec)
}

// Start implements [session.Runtime].
func (r timedRuntime) Start(ctx context.Context, ref string) (err error) {
	defer func(begun time.Time) { r.changed(ctx, "start", ref, begun, err) }(time.Now())
	return r.Runtime.Start(ctx, ref)
}

// Stop implements [session.Runtime].
func (r timedRuntime) Stop(ctx context.Context, ref string, timeout time.Duration) (err error) {
	defer func(begun time.Time) { r.changed(ctx, "stop", ref, begun, err) }(time.Now())
	return r.Runtime.Stop(ctx, ref, timeout)
}

// Remove implements [session.Runtime].
func (r timedRuntime) Remove(ctx context.Context, ref string, force bool) (err error) {
	defer func(begun time.Time) { r.changed(ctx, "remove", ref, begun, err) }(time.Now())
	return r.Runtime.Remove(ctx, ref, force)
}

// RemoveVolumes implements [session.Runtime].
func (r timedRuntime) RemoveVolumes(ctx context.Context, name string) (err error) {
	defer func(begun time.Time) { r.changed(ctx, "remove_volumes", name, begun, err) }(time.Now())
	return r.Runtime.RemoveVolumes(ctx, name)
}

// CheckImage implements [session.Runtime].
func (r timedRuntime) CheckImage(ctx context.Context, profile session.Profile, image string) (err error) {
	defer func(begun time.Time) { r.done(ctx, "check_image", "", begun, err) }(time.Now())
	return r.Runtime.CheckImage(ctx, profile, image)
}

// Drift implements [session.Runtime].
func (r timedRuntime) Drift(ctx context.Context, ref string, spec session.Spec) (parts []session.Part, err error) {
	defer func(begun time.Time) { r.done(ctx, "compare", ref, begun, err) }(time.Now())
	return r.Runtime.Drift(ctx, ref, spec)
}

// SaveState implements [session.Runtime].
func (r timedRuntime) SaveState(ctx context.Context, spec session.Spec) (err error) {
	defer func(begun time.Time) { r.changed(ctx, "save_state", spec.Name, begun, err) }(time.Now())
	return r.Runtime.SaveState(ctx, spec)
}

// CheckCopy implements [session.Runtime].
func (r timedRuntime) CheckCopy(ctx context.Context, spec session.Spec) (err error) {
	defer func(begun time.Time) { r.done(ctx, "check_copy", spec.Name, begun, err) }(time.Now())
	return r.Runtime.CheckCopy(ctx, spec)
}

// RestoreState implements [session.Runtime].
func (r timedRuntime) RestoreState(ctx context.Context, spec session.Spec) (err error) {
	defer func(begun time.Time) { r.changed(ctx, "restore_state", spec.Name, begun, err) }(time.Now())
	return r.Runtime.RestoreState(ctx, spec)
}

// Inspect implements [session.Runtime].
func (r timedRuntime) Inspect(ctx context.Context, ref string) (c session.Container, err error) {
	defer func(begun time.Time) { r.done(ctx, "inspect", ref, begun, err) }(time.Now())
	return r.Runtime.Inspect(ctx, ref)
}

// List implements [session.Runtime].
func (r timedRuntime) List(ctx context.Context) (all []session.Container, err error) {
	defer func(begun time.Time) { r.done(ctx, "list", "", begun, err) }(time.Now())
	return r.Runtime.List(ctx)
}

// Logs implements [session.Runtime]. It is measured until the log begins.
func (r timedRuntime) Logs(ctx context.Context, ref string, opts session.LogOptions) (log io.ReadCloser, err error) {
	defer func(begun time.Time) { r.done(ctx, "logs", ref, begun, err) }(time.Now())
	return r.Runtime.Logs(ctx, ref, opts)
}

// Stats implements [session.Runtime].
func (r timedRuntime) Stats(ctx context.Context, ref string) (stats session.Stats, err error) {
	defer func(begun time.Time) { r.done(ctx, "stats", ref, begun, err) }(time.Now())
	return r.Runtime.Stats(ctx, ref)
}

// Ping implements [session.Runtime].
func (r timedRuntime) Ping(ctx context.Context) (err error) {
	defer func(begun time.Time) { r.done(ctx, "ping", "", begun, err) }(time.Now())
	return r.Runtime.Ping(ctx)
}

// timedStore measures every call of the store.
type timedStore struct {
	session.Store
	watch stopwatch
}

// Create implements [session.Store].
func (s timedStore) Create(ctx context.Context, v session.Session, max int) (made session.Session, err error) {
	defer func(begun time.Time) { s.watch.stop("create", begun, err) }(time.Now())
	return s.Store.Create(ctx, v, max)
}

// Get implements [session.Store].
func (s timedStore) Get(ctx context.Context, id session.ID) (found session.Session, err error) {
	defer func(begun time.Time) { s.watch.stop("get", begun, err) }(time.Now())
	return s.Store.Get(ctx, id)
}

// Update implements [session.Store].
func (s timedStore) Update(ctx context.Context, v session.Session, max int) (updated session.Session, err error) {
	defer func(begun time.Time) { s.watch.stop("update", begun, err) }(time.Now())
	return s.Store.Update(ctx, v, max)
}

// Delete implements [session.Store].
func (s timedStore) Delete(ctx context.Context, id session.ID, revision int64) (err error) {
	defer func(begun time.Time) { s.watch.stop("delete", begun, err) }(time.Now())
	return s.Store.Delete(ctx, id, revision)
}

// List implements [session.Store].
func (s timedStore) List(ctx context.Context, q session.Query) (page session.Page, err error) {
	defer func(begun time.Time) { s.watch.stop("list", begun, err) }(time.Now())
	return s.Store.List(ctx, q)
}

// Touch implements [session.Store].
func (s timedStore) Touch(ctx context.Context, at map[session.ID]time.Time) (err error) {
	defer func(begun time.Time) { s.watch.stop("touch", begun, err) }(time.Now())
	return s.Store.Touch(ctx, at)
}

// Ping implements [session.Store].
func (s timedStore) Ping(ctx context.Context) (err error) {
	defer func(begun time.Time) { s.watch.stop("ping", begun, err) }(time.Now())
	return s.Store.Ping(ctx)
}
