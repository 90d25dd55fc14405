package lifecycle_test

import (
	"testing"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/sessiontest"
)

// Many servers are ready some milliseconds after their first probe.
func TestServerReadySoonAfterFirstProbeStartsQuickly(t *testing.T) {
	t.Parallel()
	for failures, most := range map[int]time.Duration{0: 0, 1: 10 * time.Millisecond, 4: 50 * time.Millisecond} {
		p := &scriptedProber{fails: func(probe int) bool { return probe <= failures }}
		inBubble(t, p, func(o *lifecycle.Options) { o.ProbeInterval = 10 * time.Second }, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
			begun := time.Now()
			h.Make(lifecycle.Request{})
			if took := time.Since(begun); took > most {
				t.Errorf("the start of a server that is ready after %d probes took %v, want at most %v", failures, took, most)
			}
		})
	}
}

// A slow server is not probed more often than ProbeInterval.
func TestReadinessProbesOfSlowServerAreSpaced(t *testing.T) {
	t.Parallel()
	p := &scriptedProber{fails: func(probe int) bool { return probe <= 40 }}
	inBubble(t, p, func(o *lifecycle.Options) { o.ProbeInterval = 150 * time.Millisecond }, func(t *testing.T, h *sessiontest.Fixture, _ *resultRecorder) {
		begun := time.Now()
		h.Make(lifecycle.Request{})
		if took := time.Since(begun); took < 30*150*time.Millisecond {
			t.Errorf("40 probes were made within %v, want most of them 150 ms apart", took)
		}
	})
}
