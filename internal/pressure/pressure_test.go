package pressure_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/pressure"
	"berth/internal/session"
)

// host is a source that the test sets.
type host struct {
	mu     sync.Mutex
	sample pressure.Sample
	err    error
}

func (h *host) Sample(context.Context) (pressure.Sample, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sample, h.err
}

func (h *host) is(memory, cpu float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sample, h.err = pressure.Sample{Memory: memory, CPU: cpu}, nil
}

func (h *host) fails(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// fixture is a Monitor that runs in a bubble of time.
type fixture struct {
	*pressure.Monitor
	host
	log     bytes.Buffer
	changes []pressure.Change
}

// watch runs a Monitor with the contract's thresholds until the test ends. Call it in a bubble.
func watch(t *testing.T, memory, cpu float64, change ...func(*pressure.Options)) *fixture {
	t.Helper()
	w := &fixture{}
	w.is(memory, cpu)
	opts := pressure.Options{
		Source: &w.host, MemoryWarning: 0.8, CPUWarning: 0.9, Critical: 0.95,
		OnChange: func(c pressure.Change) { w.changes = append(w.changes, c) },
		Logger:   slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	for _, f := range change {
		f(&opts)
	}
	m, err := pressure.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Monitor = m
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	synctest.Wait()
	return w
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// reported is the levels that memory has reached, as they were reported.
func (w *fixture) reported() []string {
	all := []string{}
	for _, c := range w.changes {
		if c.Resource == pressure.Memory {
			all = append(all, c.To.String())
		}
	}
	return all
}

func TestEveryLevelChangeIsReportedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.5, 0.5)
		pass(time.Minute)
		if diff := cmp.Diff([]string{}, w.reported()); diff != "" {
			t.Errorf("a quiet host (-want +got):\n%s", diff)
		}
		for _, step := range []struct {
			value float64
			want  pressure.Level
		}{{0.85, pressure.Warning}, {0.97, pressure.Critical}, {0.85, pressure.Warning}, {0.5, pressure.OK}, {0.99, pressure.Critical}, {0.1, pressure.OK}} {
			w.is(step.value, 0.1)
			pass(3 * time.Minute)
			if got := w.Snapshot().Memory; got.Level != step.want || math.Abs(got.Value-step.value) > 0.001 {
				t.Errorf("memory after minutes at %v: got %s at %v, want %s", step.value, got.Level, got.Value, step.want)
			}
		}
		want := []string{"warning", "critical", "warning", "ok", "warning", "critical", "ok"}
		if diff := cmp.Diff(want, w.reported()); diff != "" {
			t.Errorf("the changes of memory that were reported (-want +got):\n%s", diff)
		}
	})
}

func TestCPUHasItsOwnWarning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.1, 0.1)
		for _, step := range []struct {
			value float64
			want  pressure.Level
		}{{0.85, pressure.OK}, {0.92, pressure.Warning}, {0.96, pressure.Critical}} {
			w.is(0.1, step.value)
			pass(2 * time.Minute)
			if got := w.Snapshot(); got.CPU.Level != step.want || got.Memory.Level != pressure.OK {
				t.Errorf("CPU at %v is %s beside memory %s, want %s beside ok", step.value, got.CPU.Level, got.Memory.Level, step.want)
			}
		}
	})
}

func TestShortCPULoadRaisesNoAlert(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.5, 1) // Berth's own start
		w.is(0.5, 0.3)
		for range 20 { // a compiler, or the start of a session
			pass(30 * time.Second)
			w.is(0.5, 1)
			pass(10 * time.Second)
			w.is(0.5, 0.3)
		}
		if len(w.changes) != 0 {
			t.Errorf("got %+v, want a CPU that is busy for ten seconds to raise no alarm", w.changes)
		}
	})
}

func TestLowMemoryAtStartIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.97, 0.1)
		if got := w.Snapshot().Memory.Level; got != pressure.Critical {
			t.Errorf("the first look at a full host gives %s, want critical", got)
		}
	})
}

func TestFlappingIsOneAlert(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.94, 0.1)
		for range 100 { // slowly enough to get past the smoothing
			w.is(0.96, 0.1)
			pass(20 * time.Second)
			w.is(0.90, 0.1) // clearly below critical, but never for long enough
			pass(12 * time.Second)
		}
		if diff := cmp.Diff([]string{"warning", "critical"}, w.reported()); diff != "" {
			t.Errorf("a host that flaps around 95 %% (-want +got):\n%s", diff)
		}
		w.is(0.94, 0.1) // below, but not clearly
		pass(time.Hour)
		if got := w.Snapshot().Memory.Level; got != pressure.Critical {
			t.Errorf("an hour at 94 %% after critical is %s, want critical", got)
		}
	})
}

func TestCriticalRefusesWithReasonThenAdmits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.96, 0.1)
		err := w.Admit(t.Context())
		failure, _ := errors.AsType[*session.Failure](err)
		if session.CodeOf(err) != session.CodePressure || failure.RetryAfter != 15*time.Second {
			t.Fatalf("admission at 96 %% of memory: got %v, want a refusal with a time to try again", err)
		}
		if got, want := session.MessageOf(err), "host memory at 96 %, critical from 95 %; "; !strings.HasPrefix(got, want) {
			t.Errorf("the reason is %q, want it to begin with %q", got, want)
		}
		if cause, ok := errors.AsType[*pressure.CriticalError](err); !ok || cause.Resource != pressure.Memory {
			t.Errorf("the cause is %v, want it to name memory", cause)
		}
		w.is(0.5, 0.1)
		pass(8 * time.Second)
		if got := session.MessageOf(w.Admit(t.Context())); !strings.Contains(got, "critical from 95 % until it has been below 92.1 % for 15s") {
			t.Errorf("while recovering the reason is %q, want it to name what recovery needs", got)
		}
		pass(time.Minute)
		if err := w.Admit(t.Context()); err != nil {
			t.Errorf("admission after memory came free: %v", err)
		}
		w.is(0.5, 1)
		pass(2 * time.Minute)
		if got, want := session.MessageOf(w.Admit(t.Context())), "host CPU at 99.9 %, critical from 95 %; "; !strings.HasPrefix(got, want) {
			t.Errorf("the reason is %q, want it to begin with %q", got, want)
		}
	})
}

func TestThresholdOfOneNeverRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 1, 1, func(o *pressure.Options) { o.Critical = 1 })
		pass(time.Hour)
		if err := w.Admit(t.Context()); err != nil || w.Snapshot().Memory.Level != pressure.Warning {
			t.Errorf("a full host: got %v and %s, want a warning and no refusal", err, w.Snapshot().Memory.Level)
		}
	})
}

func TestMessagesNameOwnMachineWhenEngineIsElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.99, 0.1, func(o *pressure.Options) { o.Elsewhere = true })
		if got, want := w.Snapshot().Alerts()[0].Sentence, "memory of Berth's own machine at 99 %, critical from 95 %"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestFailingSourceBecomesUnknownAndAdmits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.97, 0.1)
		w.fails(errors.New("no /proc"))
		pass(10 * time.Second)
		if got := w.Snapshot().Memory; got.Level != pressure.Critical || got.Value != 0.97 || w.Admit(t.Context()) == nil {
			t.Errorf("after 10 s without a sample: got %s at %v, want the last one to hold", got.Level, got.Value)
		}
		pass(10 * time.Second)
		s := w.Snapshot()
		if s.Memory.Level != pressure.Unknown || s.Level() != pressure.Unknown || s.Memory.Value != 0.97 || len(s.Alerts()) != 0 {
			t.Errorf("after 20 s without a sample: got %+v, want unknown, with the last value and no alert", s)
		}
		if err := w.Admit(t.Context()); err != nil {
			t.Errorf("admission at an unknown level: %v", err)
		}
		pass(time.Hour)
		if n := strings.Count(w.log.String(), "not measured"); n != 1 || !strings.Contains(w.log.String(), "no /proc") {
			t.Errorf("the failure was logged %d times, want once:\n%s", n, w.log.String())
		}
		w.is(0.98, 0.1) // an hour later the old value is not used for smoothing
		pass(2 * time.Second)
		if got := w.Snapshot().Memory; got.Level != pressure.Critical || got.Value != 0.98 {
			t.Errorf("the first sample after the failure gives %s at %v, want critical at 0.98", got.Level, got.Value)
		}
		if diff := cmp.Diff([]string{"critical", "unknown", "critical"}, w.reported()); diff != "" {
			t.Errorf("what was reported (-want +got):\n%s", diff)
		}
		if !strings.Contains(w.log.String(), "measured again") {
			t.Error("the log does not say that the host is measured again")
		}
	})
}

// stuck is a source that never answers.
type stuck struct{ host }

func (s *stuck) Sample(ctx context.Context) (pressure.Sample, error) {
	if sample, err := s.host.Sample(ctx); err == nil {
		return sample, nil
	}
	<-ctx.Done()
	return pressure.Sample{}, ctx.Err()
}

func TestHangingSourceAdmits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &stuck{}
		source.is(0.99, 0.1)
		w := watch(t, 0, 0, func(o *pressure.Options) { o.Source = source })
		source.fails(errors.New("hangs"))
		pass(time.Minute)
		if got := w.Snapshot().Memory.Level; got != pressure.Unknown || w.Admit(t.Context()) != nil {
			t.Errorf("a minute after the source began to hang the level is %s, want unknown", got)
		}
	})
}

func TestValueOutOfRangeIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, value := range []float64{math.NaN(), -0.1, 1.1, math.Inf(1)} {
			w := watch(t, 0.5, 0.5)
			w.is(value, 0.5)
			pass(4 * time.Second)
			if got := w.Snapshot().Memory.Value; got != 0.5 || !strings.Contains(w.log.String(), "no fraction") {
				t.Errorf("a sample of %v: memory is %v, want 0.5 still and a line in the log", value, got)
			}
		}
	})
}

func TestLevelUnknownBeforeFirstSample(t *testing.T) {
	t.Parallel()
	m, err := pressure.New(pressure.Options{Source: &host{}, MemoryWarning: 0.8, CPUWarning: 0.9, Critical: 0.95})
	if err != nil {
		t.Fatal(err)
	}
	if s := m.Snapshot(); s.Level() != pressure.Unknown || !s.At.IsZero() || m.Admit(t.Context()) != nil {
		t.Errorf("got %+v, want unknown and no refusal", s)
	}
}

func TestInvalidThresholdsAreRefused(t *testing.T) {
	t.Parallel()
	for _, o := range []pressure.Options{
		{MemoryWarning: 0.8, CPUWarning: 0.9, Critical: 0.95},
		{Source: &host{}, MemoryWarning: 0, CPUWarning: 0.9, Critical: 0.95},
		{Source: &host{}, MemoryWarning: 0.95, CPUWarning: 0.9, Critical: 0.95},
		{Source: &host{}, MemoryWarning: 0.8, CPUWarning: math.NaN(), Critical: 0.95},
		{Source: &host{}, MemoryWarning: 0.8, CPUWarning: 0.9, Critical: 1.01},
	} {
		if _, err := pressure.New(o); err == nil {
			t.Errorf("%+v: want an error", o)
		}
	}
}

func TestAdjustChangesThresholds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0.7, 0.1)
		pass(time.Minute)
		if err := w.Adjust(0.6, 0.6, 0.65); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if got := w.Snapshot().Memory.Level; got != pressure.Critical {
			t.Errorf("with lower thresholds: got %s, want critical", got)
		}
		if err := w.Adjust(0.9, 0.9, 0.5); err == nil {
			t.Error("a warning above critical was accepted")
		}
		if err := w.Adjust(0.8, 0.9, 0.95); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if diff := cmp.Diff([]string{"critical", "ok"}, w.reported()); diff != "" {
			t.Errorf("reported (-want +got):\n%s", diff)
		}
	})
}
