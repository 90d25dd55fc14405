package lifecycle_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/waittest"
)

func (h *fixture) upgraded(t *testing.T, id session.ID, req lifecycle.UpgradeRequest) (session.Session, error) {
	t.Helper()
	w, err := h.Upgrade(t.Context(), id, req)
	return h.wait(t, w, err)
}

// moved returns a session that was upgraded to stub:2, with one item of state from before the upgrade and one from after it.
func (h *fixture) moved(t *testing.T) session.Session {
	t.Helper()
	s, _ := h.Make(lifecycle.Request{})
	h.remember(t, s)
	s, err := h.upgraded(t, s.ID, lifecycle.UpgradeRequest{Image: "stub:2"})
	if err != nil {
		t.Fatal(err)
	}
	h.remember(t, s)
	return s
}

func TestRevertWithoutCopyOrImageIsRefused(t *testing.T) {
	t.Parallel()
	noImage := runtimetest.Step{Err: session.Errorf(session.CodeImageNotFound, "pruned"), Times: -1}
	for code, spoil := range map[session.Code]func(*fixture, session.Session){
		session.CodeConflict:      func(h *fixture, s session.Session) { h.Engine.DeleteCopy(s.ContainerName) },
		session.CodeImageNotFound: func(h *fixture, _ session.Session) { h.Engine.Script(runtimetest.OpCheckImage, noImage) },
	} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			h := newFixture(t)
			s := h.moved(t)
			spoil(h, s)
			if _, err := h.upgraded(t, s.ID, lifecycle.UpgradeRequest{Back: true}); session.CodeOf(err) != code || !strings.Contains(session.MessageOf(err), "stub:1") {
				t.Errorf("got %v, want code %s and a remedy", err, code)
			}
			now, err := h.Get(t.Context(), s.ID)
			if err != nil || now.Status != session.Running || now.ContainerID != s.ContainerID || now.Upgrade.Step != session.StepSwitch || h.remembered(t, now) != 2 {
				t.Errorf("got %+v, %v, want it unchanged", now, err)
			}
		})
	}
}

// If the copy is missing during a revert, the revert fails and the session keeps its state.
func TestCopyMissingDuringRevertKeepsCurrentState(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, h *fixture, s session.Session){
		"requested revert": func(t *testing.T, h *fixture, s session.Session) {
			release := make(chan struct{})
			h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Until: release})
			w, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Back: true})
			h.Engine.DeleteCopy(s.ContainerName)
			close(release)
			if _, err = h.wait(t, w, err); session.CodeOf(err) != session.CodeConflict {
				t.Errorf("got %v, want code %s: there is no copy", err, session.CodeConflict)
			}
		},
		"stopped meanwhile": func(t *testing.T, h *fixture, s session.Session) {
			h.Engine.Script(runtimetest.OpRestoreState, runtimetest.Step{Until: make(chan struct{})})
			if _, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Back: true}); err != nil {
				t.Fatal(err)
			}
			waittest.True(t, "the restore has begun", func() bool { return len(h.Engine.Calls(runtimetest.OpRestoreState)) > 0 })
			w, err := h.Stop(t.Context(), s.ID)
			if _, err := h.wait(t, w, err); err != nil {
				t.Fatal(err)
			}
			h.Engine.DeleteCopy(s.ContainerName)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t)
				s := h.moved(t)
				lose(t, h, s)
				w, err := h.Start(t.Context(), s.ID)
				after, err := h.wait(t, w, err)
				if err != nil || after.Upgrade != nil || after.Image != "stub:1" || h.remembered(t, after) != 2 {
					t.Fatalf("start: got %+v, %v, want it on stub:1 with the present state", after, err)
				}
				said := ""
				for _, m := range after.Timeline {
					said += m.Reason
				}
				if !strings.Contains(said, "copy of the state") {
					t.Errorf("got the timeline %+v, want an event that the copy is missing", after.Timeline)
				}
				if _, err := h.upgraded(t, s.ID, lifecycle.UpgradeRequest{Image: "stub:2"}); err != nil {
					t.Errorf("upgrade: %v", err)
				}
			})
		})
	}
}

// An upgrade that has not replaced the copy leaves the previous upgrade, which can still be reverted, and no record of its own.
func TestUpgradeFailedBeforeCopyKeepsPreviousUpgrade(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, h *fixture, s session.Session){
		"failed": func(t *testing.T, h *fixture, s session.Session) {
			h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Err: session.Errorf(session.CodeInternal, "stuck")})
			if _, err := h.upgraded(t, s.ID, lifecycle.UpgradeRequest{Image: "stub:3"}); session.CodeOf(err) != session.CodeUpgradeFailed {
				t.Fatalf("got %v, want code %s", err, session.CodeUpgradeFailed)
			}
		},
		"stopped": func(t *testing.T, h *fixture, s session.Session) {
			h.Engine.Script(runtimetest.OpStop, runtimetest.Step{Until: make(chan struct{})})
			before := len(h.Engine.Calls(runtimetest.OpStop))
			if _, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: "stub:3"}); err != nil {
				t.Fatal(err)
			}
			waittest.True(t, "the stop has begun", func() bool { return len(h.Engine.Calls(runtimetest.OpStop)) > before })
			w, err := h.Stop(t.Context(), s.ID)
			if _, err := h.wait(t, w, err); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t)
				s := h.moved(t)
				fail(t, h, s)
				now, err := h.Get(t.Context(), s.ID)
				if err != nil || now.Upgrade == nil || now.Upgrade.Step != session.StepSwitch || now.Upgrade.Image != "stub:2" {
					t.Fatalf("got the upgrade %+v, %v, want the earlier one", now.Upgrade, err)
				}
				if _, err := h.upgraded(t, s.ID, lifecycle.UpgradeRequest{Back: true}); err != nil {
					t.Fatal(err)
				}
				w, err := h.Start(t.Context(), s.ID)
				if session.CodeOf(err) != session.CodeConflict {
					_, err = h.wait(t, w, err)
				}
				now, got := h.Get(t.Context(), s.ID)
				if got != nil || now.Image != "stub:1" || now.Upgrade != nil || h.remembered(t, now) != 1 {
					t.Errorf("revert: got %+v, %v, %v, want stub:1 with the state of that time", now, got, err)
				}
			})
		})
	}
}
