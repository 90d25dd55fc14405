package egress

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/session"
)

// TestSilentStreamIsKeptForHours: a WebSocket that only waits is no idle connection, until the idle time is over.
func TestSilentStreamIsKeptForHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		st, v := f.admit(t.Context(), f.callers[here])
		if !v.Allowed {
			t.Fatal(v.Sentence)
		}
		defer st.release()
		client, gatewayClient := net.Pipe()
		target, gatewayTarget := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.splice(st, gatewayClient, gatewayTarget)
		}()
		for range 3 {
			<-time.After(f.limits.Idle - time.Hour)
			if _, err := target.Write([]byte("x")); err != nil {
				t.Fatalf("after hours of silence: %v", err)
			}
			if _, err := client.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Now()
		<-ended
		if took := time.Since(last); took < f.limits.Idle || took > f.limits.Idle+2*idleTick {
			t.Errorf("ended %s after the last byte, want %s", took, f.limits.Idle)
		}
	})
}

func TestRepeatedRefusalsAreReportedOnceAMinute(t *testing.T) {
	t.Parallel()
	reports := 0
	n := newNotifier(func(context.Context, session.Caller, string, string) { reports++ })
	now := time.Now()
	n.now = func() time.Time { return now }
	report := func(what string) {
		n.report(t.Context(), session.Caller{Session: "one"}, refusal(ReasonNotListed, "%s", what))
	}
	for range 100 {
		report("the same")
	}
	if reports != 1 {
		t.Errorf("the same refusal was reported %d times, want once", reports)
	}
	now = now.Add(repeatInterval)
	if report("the same"); reports != 2 {
		t.Errorf("a minute later: %d reports, want 2", reports)
	}
	for i := range 10_000 {
		report(fmt.Sprint("host ", i))
	}
	if reports > noticeBurst+2 {
		t.Errorf("%d reports of one session at once, want %d at most", reports, noticeBurst+2)
	}
}
