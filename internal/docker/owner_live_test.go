package docker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/session"
)

// keepOwned runs KeepOwned for an owner until it is stopped; its error is in the channel.
func keepOwned(t *testing.T, r *docker.Runtime, owner session.EngineOwner) (done chan error, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done = make(chan error, 1)
	go func() { done <- r.KeepOwned(ctx, owner) }()
	t.Cleanup(cancel)
	return done, cancel
}

func ended(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("it has not ended")
		return nil
	}
}

func claim(t *testing.T, r *docker.Runtime, owner session.EngineOwner, force bool) string {
	t.Helper()
	replaced, err := r.Claim(t.Context(), owner, force)
	if err != nil {
		t.Fatalf("claim for %+v: %v", owner, err)
	}
	return replaced
}

func TestContainersHaveOneOwner(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	first := session.EngineOwner{ID: "place-1", Process: "a", Host: "one"}
	if replaced := claim(t, w.Runtime, first, false); replaced != "" {
		t.Errorf("the first owner has replaced %q", replaced)
	}
	done, stop := keepOwned(t, w.Runtime, first)

	// A copy is refused as long as the owner runs.
	second := session.EngineOwner{ID: "place-2", Process: "b", Host: "two"}
	for range 2 {
		_, err := w.Claim(t.Context(), second, false)
		wantCode(t, err, session.CodeConflict, "the first owner is alive")
	}
	stop()
	if err := ended(t, done); err != nil {
		t.Errorf("the owner that was refused nothing: got %v, want nil", err)
	}

	// Another process of the same owner is a restart, which asks no one.
	begun := time.Now()
	first.Process = "a2"
	if replaced := claim(t, w.Runtime, first, false); replaced != "" || time.Since(begun) > 5*time.Second {
		t.Errorf("a restart took %s and has replaced %q, want it at once and no owner replaced", time.Since(begun), replaced)
	}

	// An owner that has stopped does not answer.
	if replaced := claim(t, w.Runtime, second, false); replaced != "one" {
		t.Errorf("after the first owner has stopped:  got %q replaced, want the host of the first", replaced)
	}
	done, _ = keepOwned(t, w.Runtime, second)

	// The first one resumes and sees that it has been replaced.
	late, _ := keepOwned(t, w.Runtime, first)
	wantCode(t, ended(t, late), session.CodeConflict, "it was replaced")

	// An operator forces a replacement.
	if replaced := claim(t, w.Runtime, first, true); replaced != "two" {
		t.Errorf("by force: got %q replaced, want the host of the second", replaced)
	}
	wantCode(t, ended(t, done), session.CodeConflict, "it was replaced by force")
}

func TestProcessesOnOneDatabaseShareContainers(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	claim(t, w.Runtime, session.EngineOwner{ID: "place-1", Process: "a", Host: "one"}, false)
	shared := session.EngineOwner{ID: "database", Former: []string{"place-1"}, Host: "one"} // its sessions were moved there
	begun := time.Now()
	for range 2 {
		if replaced := claim(t, w.Runtime, shared, false); replaced != "" {
			t.Errorf("got %q replaced, want none", replaced)
		}
	}
	if time.Since(begun) > 5*time.Second {
		t.Errorf("it took %s, want no owner asked", time.Since(begun))
	}
	one, stopOne := keepOwned(t, w.Runtime, shared)
	two, stopTwo := keepOwned(t, w.Runtime, shared)

	// Unused volumes are pruned.
	api := dockertest.Client(t)
	mark := "berth-owner-" + w.instance
	if _, err := api.VolumeRemove(t.Context(), mark, client.VolumeRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(50 * time.Millisecond) {
		if _, err := api.VolumeInspect(t.Context(), mark, client.VolumeInspectOptions{}); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the mark was not recreated: %v", err)
		}
	}
	stopOne()
	stopTwo()
	if err := errors.Join(ended(t, one), ended(t, two)); err != nil {
		t.Errorf("got %v, want both undisturbed", err)
	}
}

// A process that is killed while it asks leaves its claim. Others remove it after the time-out.
func TestClaimOfAKilledProcessIsRemoved(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	claim(t, w.Runtime, session.EngineOwner{ID: "place-1", Process: "a", Host: "one"}, false)
	api := dockertest.Client(t)
	left := "berth-claim-" + w.instance
	_, err := api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: left, Labels: map[string]string{"berth.instance": w.instance, "berth.owner": "killed"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = api.VolumeRemove(context.WithoutCancel(t.Context()), left, client.VolumeRemoveOptions{})
	})
	begun := time.Now()
	answers, err := w.Answers(t.Context(), w.instance, session.EngineOwner{ID: "place-2", Host: "two"})
	if answers || err != nil || time.Since(begun) > time.Minute {
		t.Errorf("got %v, %v after %s; want no answer, within a minute", answers, err, time.Since(begun))
	}
	if _, err := api.VolumeInspect(t.Context(), left, client.VolumeInspectOptions{}); err == nil {
		t.Error("the claim is still there")
	}
}
