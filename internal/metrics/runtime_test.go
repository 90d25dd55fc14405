package metrics_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/metrics"
	"berth/internal/session"
)

// unpausable is a runtime that cannot pause containers.
type unpausable struct{ session.Runtime }

// pauser is a runtime that can.
type pauser struct{ unpausable }

func (pauser) Pause(context.Context, string) error { return nil }

func (pauser) Resume(context.Context, string) error {
	return session.Errorf(session.CodeNotRunning, "it does not run")
}

func TestMeasuredRuntimePausesWhenItsRuntimeDoes(t *testing.T) {
	t.Parallel()
	m := metrics.New(prometheus.NewRegistry())
	var calls []string
	changed := func(_ context.Context, call, container, outcome string) {
		calls = append(calls, call+" "+container+": "+outcome)
	}
	measure := func(of session.Runtime) session.Runtime { return m.Runtime(of, slog.New(slog.DiscardHandler), changed) }
	if _, ok := measure(unpausable{}).(session.Pauser); ok {
		t.Error("a measured runtime can pause containers, though its runtime cannot")
	}
	p, ok := measure(pauser{}).(session.Pauser)
	if !ok {
		t.Fatal("a measured runtime cannot pause containers, though its runtime can")
	}
	if err := p.Pause(t.Context(), "one"); err != nil {
		t.Errorf("Pause: %v", err)
	}
	if err := p.Resume(t.Context(), "two"); session.CodeOf(err) != session.CodeNotRunning {
		t.Errorf("Resume: got %v, want the runtime's own error", err)
	}
	if diff := cmp.Diff([]string{"pause one: ok", "resume two: session_not_running"}, calls); diff != "" {
		t.Errorf("calls noted (-want +got): %s", diff)
	}
}
