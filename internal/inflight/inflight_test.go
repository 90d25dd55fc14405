package inflight_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"berth/internal/inflight"
)

func TestDrainWaitsForCallsButNotStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := inflight.New()
		for range 3 {
			c.Begin()
		}
		c.BecomeStream()
		if all, streams := c.Count(); all != 3 || streams != 1 {
			t.Errorf("got %d calls and %d streams, want 3 and 1", all, streams)
		}
		drained, emptied := make(chan int, 1), make(chan int, 1)
		go func() { drained <- c.Drain(t.Context()) }()
		go func() { emptied <- c.Empty(t.Context()) }()
		synctest.Wait()
		c.End(false)
		synctest.Wait()
		if len(drained) > 0 {
			t.Fatal("drained although a call other than a stream is in progress")
		}
		c.BecomeStream()
		synctest.Wait()
		if len(drained) == 0 || <-drained != 0 {
			t.Error("not drained although only streams are in progress")
		}
		c.End(true)
		synctest.Wait()
		if len(emptied) > 0 {
			t.Fatal("empty although a stream is in progress")
		}
		c.End(true)
		if left := <-emptied; left != 0 {
			t.Errorf("%d calls are left, want none", left)
		}
	})
}

func TestWaitEndsWithContext(t *testing.T) {
	t.Parallel()
	c := inflight.New()
	c.Begin()
	c.Begin()
	c.BecomeStream()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if left := c.Drain(ctx); left != 1 {
		t.Errorf("drain: got %d calls left, want 1", left)
	}
	if left := c.Empty(ctx); left != 2 {
		t.Errorf("empty: got %d calls left, want 2", left)
	}
}

func TestBeginFailsAfterClose(t *testing.T) {
	t.Parallel()
	c := inflight.New()
	var begun, ended sync.WaitGroup
	for range 8 {
		begun.Add(1)
		ended.Go(func() {
			first := true
			for c.Begin() {
				if first {
					begun.Done()
					first = false
				}
				c.End(false)
			}
			if first {
				begun.Done()
			}
		})
	}
	begun.Wait()
	c.Close()
	if left := c.Empty(t.Context()); left != 0 {
		t.Errorf("%d calls are left, want none", left)
	}
	ended.Wait()
	if c.Begin() {
		t.Error("a call began after Close")
	}
	if all, _ := c.Count(); all != 0 {
		t.Errorf("got %d calls, want none: rejected calls are not counted", all)
	}
}
