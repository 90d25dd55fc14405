package lifecycle_test

import (
	"testing"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

// After a crash an engine may report a container as running that is not, and refuse to start it.
func TestUnstartableContainerIsReplaced(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	if _, err := h.do(h.Stop, s.ID); err != nil {
		t.Fatal(err)
	}
	h.Engine.Script(runtimetest.OpStart, runtimetest.Step{Err: session.Errorf(session.CodeConflict, "stale state of an earlier run")})
	now, err := h.do(h.Start, s.ID)
	if err != nil || now.Status != session.Running || now.ContainerID == s.ContainerID {
		t.Errorf("got %s in container %s, %v; want it running in a container other than %s", now.Status, now.ContainerID, err, s.ContainerID)
	}
	if n := len(h.Engine.Calls(runtimetest.OpRemoveVolumes)); n != 0 {
		t.Errorf("volumes were removed %d times", n)
	}
}
