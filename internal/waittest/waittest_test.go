package waittest_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/waittest"
)

// recorder is a test that fails without being reported.
type recorder struct {
	testing.TB
	failure string
}

func (*recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = strings.TrimSpace(format) + " " + args[2].(error).Error()
	runtime.Goexit()
}

func TestWaitEndsWithTheConditionOrAfterThirtySeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		waittest.True(t, "ten seconds pass", func() bool { return time.Since(begun) >= 10*time.Second })
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("waited %s, want ten seconds", took)
		}
		r, done := &recorder{TB: t}, make(chan struct{})
		begun = time.Now()
		go func() {
			defer close(done)
			waittest.Until(r, "never", func() error { return errors.New("the reason") })
		}()
		<-done
		if took := time.Since(begun); !strings.Contains(r.failure, "the reason") || took < 30*time.Second || took > 31*time.Second {
			t.Errorf("got %q after %s, want the last error after 30 seconds", r.failure, took)
		}
	})
}
