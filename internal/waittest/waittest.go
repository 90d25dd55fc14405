// Package waittest lets tests wait for what becomes true by itself.
//
// It asks again and again, on the clock of the bubble if the test is in one (testing/synctest). A test that can wait for a
// channel does that instead.
package waittest

import (
	"errors"
	"testing"
	"time"
)

const (
	limit = 30 * time.Second // of the wait: enough for a busy machine, as a promise that is broken is never kept
	pause = 2 * time.Millisecond
)

// Until returns when try has returned nil. It ends the test with the last error after 30 seconds.
func Until(t testing.TB, what string, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; <-time.After(pause) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		}
	}
}

var errFalse = errors.New("it is not so yet")

// True is Until for a condition.
func True(t testing.TB, what string, holds func() bool) {
	t.Helper()
	Until(t, what, func() error {
		if !holds() {
			return errFalse
		}
		return nil
	})
}
