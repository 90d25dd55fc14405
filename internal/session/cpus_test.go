package session_test

import (
	"testing"

	"pgregory.net/rapid"

	"berth/internal/session"
)

func TestCPUQuotaIsExactInItsPeriod(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		period := rapid.Int64Range(1, 1_000_000).Draw(t, "period")
		time := rapid.Int64Range(1, 1024*1_000_000).Draw(t, "time")
		if got := session.CPUsOf(time, period).In(period); got != time {
			t.Fatalf("%d of %d: got %d back, want the same", time, period, got)
		}
	})
}

func TestCPUQuotaInOtherPeriods(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		time, period, other, want int64
	}{
		{100_000, 100_000, 50_000, 50_000},
		{70_000, 50_000, 100_000, 140_000},
		{25_000, 50_000, 100_000, 50_000},
		{1_000, 3_000, 100_000, 33_333},
		{2_000, 3_000, 100_000, 66_667},
		{1_000_000, 100_000, 100_000, 1_000_000},
	} {
		if got := session.CPUsOf(tt.time, tt.period).In(tt.other); got != tt.want {
			t.Errorf("%d of %d: got %d of %d, want %d", tt.time, tt.period, got, tt.other, tt.want)
		}
	}
	if got := session.CPUs(1).In(1000); got != 1 {
		t.Errorf("the smallest share: got %d, want 1: 0 would be no limit at all", got)
	}
	if got := session.CPUs(0).In(1000); got != 0 {
		t.Errorf("no share: got %d, want 0", got)
	}
}
