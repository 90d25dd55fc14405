package lifecycle_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// withFastHealing sets short check intervals and no restart delay.
func withFastHealing(o *lifecycle.Options) {
	o.ReconcileEvery = 50 * time.Millisecond
	o.Health = lifecycle.HealthOptions{CheckEvery: 100 * time.Millisecond, Timeout: time.Second, MaxRestarts: 2, RestartDelay: time.Millisecond}
}

// A workspace that is missing, because the engine has lost its data or is another one, is not replaced by an empty one.
func TestMissingWorkspaceIsNotRecreated(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]bool{"running session": false, "stopped session": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newFixture(t, withFastHealing)
				s, _ := h.Make(lifecycle.Request{})
				if stop {
					if _, err := h.do(h.Stop, s.ID); err != nil {
						t.Fatal(err)
					}
				}
				h.abandon(h.Manager)
				if err := h.Engine.Remove(t.Context(), s.ContainerName, true); err != nil {
					t.Fatal(err)
				}
				if err := h.Engine.RemoveVolumes(t.Context(), s.ContainerName); err != nil {
					t.Fatal(err)
				}
				h.Manager = h.Process()
				h.runManager(t)
				if !stop {
					h.waitFor(t, s.ID, "given up", func(now session.Session, _ lifecycle.Health) bool {
						return now.Status == session.Error && now.Operation == nil && strings.Contains(now.LastError, "given up")
					})
				}
				_, err := h.do(h.Start, s.ID)
				wantCode(t, err, session.CodeConflict, "start")
				if now := h.stored(s.ID); now.Status != session.Error || !strings.Contains(now.LastError, "workspace") {
					t.Errorf("got %s, %q; want an error that names the workspace", now.Status, now.LastError)
				}
				if volumes := h.Engine.Volumes(); len(volumes) != 0 {
					t.Errorf("got %v, want no volume: no empty one is created", volumes)
				}
				if _, err := h.do(h.Delete, s.ID); err != nil {
					t.Errorf("delete: %v", err)
				}
			})
		})
	}
}
