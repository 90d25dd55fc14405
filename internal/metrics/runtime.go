package metrics

import (
	"context"
	"io"
	"log/slog"
	"time"

	"berth/internal/session"
)

// runtime measures every call of the engine, and logs each at DEBUG.
type runtime struct {
	session.Runtime
	calls   calls
	log     *slog.Logger
	changed func(ctx context.Context, call, container, outcome string)
}

// pausing is a runtime that can also pause containers.
type pausing struct {
	runtime
	of session.Pauser
}

// Runtime measures the calls of a runtime, and returns a [session.Pauser] if r is one. changed is called after each call that
// changes something.
func (m *Metrics) Runtime(of session.Runtime, log *slog.Logger, changed func(ctx context.Context, call, container, outcome string)) session.Runtime {
	measured := runtime{of, m.engine, log, changed}
	if pauser, ok := of.(session.Pauser); ok {
		return pausing{measured, pauser}
	}
	return measured
}

// change records a call that changes something.
func (r runtime) change(ctx context.Context, call, ref string, begun time.Time, err error) {
	r.changed(ctx, call, ref, r.done(ctx, call, ref, begun, err))
}

// done records a call about a container; ref is empty for a call about all.
func (r runtime) done(ctx context.Context, call, ref string, begun time.Time, err error) (outcome string) {
	took, outcome := r.calls.done(call, begun, err)
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
func (r runtime) Create(ctx context.Context, spec session.Spec) (c session.Container, err error) {
	defer func(begun time.Time) { r.change(ctx, "create", spec.Name, begun, err) }(time.Now())
	return r.Runtime.Create(ctx, spec)
}

// Start implements [session.Runtime].
func (r runtime) Start(ctx context.Context, ref string) (err error) {
	defer func(begun time.Time) { r.change(ctx, "start", ref, begun, err) }(time.Now())
	return r.Runtime.Start(ctx, ref)
}

// Stop implements [session.Runtime].
func (r runtime) Stop(ctx context.Context, ref string, timeout time.Duration) (err error) {
	defer func(begun time.Time) { r.change(ctx, "stop", ref, begun, err) }(time.Now())
	return r.Runtime.Stop(ctx, ref, timeout)
}

// Remove implements [session.Runtime].
func (r runtime) Remove(ctx context.Context, ref string, force bool) (err error) {
	defer func(begun time.Time) { r.change(ctx, "remove", ref, begun, err) }(time.Now())
	return r.Runtime.Remove(ctx, ref, force)
}

// RemoveVolumes implements [session.Runtime].
func (r runtime) RemoveVolumes(ctx context.Context, name string) (err error) {
	defer func(begun time.Time) { r.change(ctx, "remove_volumes", name, begun, err) }(time.Now())
	return r.Runtime.RemoveVolumes(ctx, name)
}

// CheckImage implements [session.Runtime].
func (r runtime) CheckImage(ctx context.Context, profile session.Profile, image string) (err error) {
	defer func(begun time.Time) { r.done(ctx, "check_image", "", begun, err) }(time.Now())
	return r.Runtime.CheckImage(ctx, profile, image)
}

// Drift implements [session.Runtime].
func (r runtime) Drift(ctx context.Context, ref string, spec session.Spec) (parts []session.Part, err error) {
	defer func(begun time.Time) { r.done(ctx, "compare", ref, begun, err) }(time.Now())
	return r.Runtime.Drift(ctx, ref, spec)
}

// SaveState implements [session.Runtime].
func (r runtime) SaveState(ctx context.Context, spec session.Spec) (err error) {
	defer func(begun time.Time) { r.change(ctx, "save_state", spec.Name, begun, err) }(time.Now())
	return r.Runtime.SaveState(ctx, spec)
}

// CheckCopy implements [session.Runtime].
func (r runtime) CheckCopy(ctx context.Context, spec session.Spec) (err error) {
	defer func(begun time.Time) { r.done(ctx, "check_copy", spec.Name, begun, err) }(time.Now())
	return r.Runtime.CheckCopy(ctx, spec)
}

// RestoreState implements [session.Runtime].
func (r runtime) RestoreState(ctx context.Context, spec session.Spec) (err error) {
	defer func(begun time.Time) { r.change(ctx, "restore_state", spec.Name, begun, err) }(time.Now())
	return r.Runtime.RestoreState(ctx, spec)
}

// Inspect implements [session.Runtime].
func (r runtime) Inspect(ctx context.Context, ref string) (c session.Container, err error) {
	defer func(begun time.Time) { r.done(ctx, "inspect", ref, begun, err) }(time.Now())
	return r.Runtime.Inspect(ctx, ref)
}

// List implements [session.Runtime].
func (r runtime) List(ctx context.Context) (all []session.Container, err error) {
	defer func(begun time.Time) { r.done(ctx, "list", "", begun, err) }(time.Now())
	return r.Runtime.List(ctx)
}

// Logs implements [session.Runtime]. It is measured until the log begins.
func (r runtime) Logs(ctx context.Context, ref string, opts session.LogOptions) (log io.ReadCloser, err error) {
	defer func(begun time.Time) { r.done(ctx, "logs", ref, begun, err) }(time.Now())
	return r.Runtime.Logs(ctx, ref, opts)
}

// Stats implements [session.Runtime].
func (r runtime) Stats(ctx context.Context, ref string) (stats session.Stats, err error) {
	defer func(begun time.Time) { r.done(ctx, "stats", ref, begun, err) }(time.Now())
	return r.Runtime.Stats(ctx, ref)
}

// Pause implements [session.Pauser].
func (r pausing) Pause(ctx context.Context, ref string) (err error) {
	defer func(begun time.Time) { r.change(ctx, "pause", ref, begun, err) }(time.Now())
	return r.of.Pause(ctx, ref)
}

// Resume implements [session.Pauser].
func (r pausing) Resume(ctx context.Context, ref string) (err error) {
	defer func(begun time.Time) { r.change(ctx, "resume", ref, begun, err) }(time.Now())
	return r.of.Resume(ctx, ref)
}

// Ping implements [session.Runtime].
func (r runtime) Ping(ctx context.Context) (err error) {
	defer func(begun time.Time) { r.done(ctx, "ping", "", begun, err) }(time.Now())
	return r.Runtime.Ping(ctx)
}
