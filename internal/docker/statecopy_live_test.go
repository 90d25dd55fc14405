package docker_test

import (
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/internal/waittest"
)

// saveAndRestore stops a container, copies its state, removes the container and restores the state.
func (w fixture) saveAndRestore(t *testing.T, spec session.Spec) {
	t.Helper()
	if err := w.Stop(t.Context(), spec.Name, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := w.SaveState(t.Context(), spec); err != nil {
		t.Fatalf("save: %v", err)
	}
	if err := w.Remove(t.Context(), spec.Name, true); err != nil {
		t.Fatal(err)
	}
	if err := w.RestoreState(t.Context(), spec); err != nil {
		t.Fatalf("restore: %v", err)
	}
}

// A session's user may keep files in the state that this user may not read: they are copied and restored.
func TestUnreadableStateIsCopied(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("hidden")
	c := w.up(t, spec)
	var had struct{ Found string }
	if err := get(t.Context(), c.Address, "/hide", &had); err != nil || had.Found != "" {
		t.Fatalf("hide: got %q, %v", had.Found, err)
	}
	w.saveAndRestore(t, spec)
	c = w.up(t, spec)
	if err := get(t.Context(), c.Address, "/hide", &had); err != nil || had.Found != "kept" {
		t.Errorf("got %q, %v; want what was kept", had.Found, err)
	}
}

// A container that was disconnected from its network has no address, and gets one with its next start.
func TestDisconnectedContainerIsConnectedAtStart(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("alone")
	c := w.up(t, spec)
	_, err := dockertest.Client(t).NetworkDisconnect(t.Context(), w.instance, client.NetworkDisconnectOptions{Container: c.ID, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = w.Inspect(t.Context(), spec.Name); err != nil || c.Address != "" {
		t.Fatalf("after it was disconnected: got address %q, %v; want none", c.Address, err)
	}
	if err := w.Stop(t.Context(), spec.Name, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	if c, err = w.Inspect(t.Context(), spec.Name); err != nil || c.Address == "" {
		t.Fatalf("after the start: got address %q, %v; want one", c.Address, err)
	}
	waittest.Until(t, "the server answers", func() error {
		var health struct{ Healthy bool }
		return get(t.Context(), c.Address, "/global/health", &health)
	})
}

// Volumes without their session's record name the profile, also those that were restored.
func TestVolumesNameTheirProfileAfterRestore(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("restored")
	spec.ProfileName = "special"
	w.up(t, spec)
	w.saveAndRestore(t, spec)
	volumes, err := dockertest.Client(t).VolumeList(t.Context(), client.VolumeListOptions{
		Filters: client.Filters{}.Add("label", "berth.container="+spec.Name),
	})
	if err != nil || len(volumes.Items) <= len(spec.Profile.Volumes) {
		t.Fatalf("got the volumes %v, %v; want those of the profile and a copy", volumes.Items, err)
	}
	for _, v := range volumes.Items {
		if got := v.Labels["berth.profile"]; got != spec.ProfileName {
			t.Errorf("volume %s: got profile %q, want %q", v.Name, got, spec.ProfileName)
		}
	}
}
