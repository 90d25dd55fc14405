package lifecycle_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/waittest"
)

// upgrade moves a session to an image that works or to one that does not, or reverts its upgrade.
func (m *model) upgrade(rt *rapid.T) {
	req := rapid.SampledFrom([]lifecycle.UpgradeRequest{{Image: "stub:2"}, {Image: brokenImage}, {Back: true}, {}}).Draw(rt, "upgrade")
	m.Engine.BehaveImage(brokenImage, runtimetest.Behaviour{Exits: true, ExitCode: 3})
	m.do(session.OpUpgrade, func(manager *lifecycle.Manager, ctx context.Context, id session.ID) (*lifecycle.Work, error) {
		return manager.Upgrade(ctx, id, req)
	})
}

const brokenImage = "stub:broken"

// remember adds one item to the state of the session's server.
func (h *fixture) remember(t *testing.T, s session.Session) {
	t.Helper()
	h.own(t, http.MethodPost, s)
}

// remembered returns the number of items in the state.
func (h *fixture) remembered(t *testing.T, s session.Session) int {
	t.Helper()
	var all []any
	if err := json.Unmarshal(h.own(t, http.MethodGet, s), &all); err != nil {
		t.Fatalf("GET /session: %v", err)
	}
	return len(all)
}

func (h *fixture) own(t *testing.T, method string, s session.Session) []byte {
	t.Helper()
	route, ok := h.Routes.Get(s.ID)
	if !ok || !route.Running {
		t.Fatalf("session %s is not routed: %+v", s.ID, route)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+route.Address+"/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(route.Username, route.Credential.Reveal())
	response, err := h.Servers.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s /session: %s, %v", method, response.Status, err)
	}
	return body
}

// reopened starts the next process, with other settings.
func (h *fixture) reopened(t *testing.T, change func(*lifecycle.Options)) {
	t.Helper()
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	change(&h.Options)
	h.Manager = h.Process()
	if err := h.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (h *fixture) wait(t *testing.T, w *lifecycle.Work, err error) (session.Session, error) {
	t.Helper()
	if err != nil {
		return session.Session{}, err
	}
	return w.Wait(t.Context())
}

func changeProfile(f func(*session.Profile)) func(*lifecycle.Options) {
	return func(o *lifecycle.Options) {
		p := o.Profiles["opencode"]
		f(&p)
		o.Profiles = map[string]session.Profile{"opencode": p}
	}
}

func TestStartAfterStopUsesPresentSettings(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*fixture, context.Context, session.ID) (*lifecycle.Work, error){
		"start": func(h *fixture, ctx context.Context, id session.ID) (*lifecycle.Work, error) { return h.Start(ctx, id) },
		"restart": func(h *fixture, ctx context.Context, id session.ID) (*lifecycle.Work, error) {
			return h.Restart(ctx, id)
		},
	} {
		for _, row := range []struct {
			part   session.Part
			change func(*lifecycle.Options)
		}{
			{session.PartImage, changeProfile(func(p *session.Profile) { p.Image = "stub:2" })},
			{session.PartLimits, func(o *lifecycle.Options) { o.Limits.Memory = 2 << 30 }},
			{session.PartEnvironment, changeProfile(func(p *session.Profile) { p.Env = map[string]string{"MORE": "1"} })},
			{session.PartProfile, changeProfile(func(p *session.Profile) { p.Tmpfs = []session.Tmpfs{{Path: "/tmp", Size: 1 << 20}} })},
		} {
			t.Run(name+" "+string(row.part), func(t *testing.T) {
				t.Parallel()
				h := newFixture(t)
				s, _ := h.Make(lifecycle.Request{})
				h.remember(t, s)
				h.reopened(t, row.change)
				if got, err := h.OutOfDate(t.Context(), s); err != nil || !slices.Equal(got, []session.Part{row.part}) {
					t.Errorf("out of date: got %v, %v, want [%s]", got, err, row.part)
				}
				w, err := h.Stop(t.Context(), s.ID)
				if _, err := h.wait(t, w, err); err != nil {
					t.Fatal(err)
				}
				w, err = again(h, t.Context(), s.ID)
				after, err := h.wait(t, w, err)
				if err != nil {
					t.Fatal(err)
				}
				if after.ContainerID == s.ContainerID || after.ContainerName != s.ContainerName {
					t.Errorf("got container %s %s, want another one with the name %s", after.ContainerName, after.ContainerID, s.ContainerName)
				}
				if want := h.Options.Profiles["opencode"].Image; after.Image != want {
					t.Errorf("got image %s in the record, want %s", after.Image, want)
				}
				if got, err := h.OutOfDate(t.Context(), after); err != nil || len(got) > 0 {
					t.Errorf("after the start: %v, %v is out of date, want no part", got, err)
				}
				if got := h.remembered(t, after); got != 1 {
					t.Errorf("the state has %d items, want 1: workspace and state are kept", got)
				}
			})
		}
	}
}

func TestRestartWithUnchangedSettingsKeepsContainer(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	w, err := h.Restart(t.Context(), s.ID)
	after, err := h.wait(t, w, err)
	if err != nil || after.ContainerID != s.ContainerID {
		t.Errorf("got container %s, %v, want %s as before", after.ContainerID, err, s.ContainerID)
	}
}

func TestRestartUsesRebuiltImage(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.Engine.Rebuild(s.Image)
	w, err := h.Restart(t.Context(), s.ID)
	after, err := h.wait(t, w, err)
	if err != nil || after.ContainerID == s.ContainerID {
		t.Errorf("got container %s, %v, want another one: the tag refers to another image", after.ContainerID, err)
	}
}

func TestChosenImageIsKeptWhenProfileChanges(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{Image: "mine:1"})
	h.reopened(t, changeProfile(func(p *session.Profile) { p.Image = "stub:2" }))
	w, err := h.Restart(t.Context(), s.ID)
	after, err := h.wait(t, w, err)
	if err != nil || after.Image != "mine:1" || after.ContainerID != s.ContainerID {
		t.Errorf("got %s in container %s, %v, want mine:1 in %s: the image was chosen", after.Image, after.ContainerID, err, s.ContainerID)
	}
}

func TestContainerIsKeptWhenNewImageIsMissing(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.reopened(t, changeProfile(func(p *session.Profile) { p.Image, p.Env = runtimetest.MissingImage, map[string]string{"A": "1"} }))
	w, err := h.Restart(t.Context(), s.ID)
	after, err := h.wait(t, w, err)
	if err != nil || after.Status != session.Running || after.ContainerID != s.ContainerID {
		t.Errorf("got %s in container %s, %v, want running in %s: the new image is missing", after.Status, after.ContainerID, err, s.ContainerID)
	}
	w, err = h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{})
	if _, err = h.wait(t, w, err); session.CodeOf(err) != session.CodeImageNotFound {
		t.Errorf("upgrade: got %v, want code %s", err, session.CodeImageNotFound)
	}
}

func TestUpgradeMovesToImageAndBack(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{})
	h.remember(t, s)
	w, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: "stub:2"})
	up, err := h.wait(t, w, err)
	if err != nil {
		t.Fatal(err)
	}
	if up.Image != "stub:2" || up.ImageSource != session.ImageChosen || up.Status != session.Running || up.Operation != nil || h.remembered(t, up) != 1 {
		t.Errorf("after the upgrade: %+v", up)
	}
	h.remember(t, up)
	w, err = h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Back: true})
	back, err := h.wait(t, w, err)
	if err != nil {
		t.Fatal(err)
	}
	if back.Image != "stub:1" || back.Status != session.Running || back.Upgrade != nil {
		t.Errorf("after the revert: %+v", back)
	}
	if got := h.remembered(t, back); got != 1 {
		t.Errorf("the state has %d items, want 1, as before the upgrade", got)
	}
	w, err = h.Restart(t.Context(), s.ID)
	if again, err := h.wait(t, w, err); err != nil || again.Image != "stub:1" {
		t.Errorf("after a restart: %s, %v, want stub:1: the image of a revert is kept", again.Image, err)
	}
	if _, err = h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Back: true}); session.CodeOf(err) != session.CodeConflict {
		t.Errorf("second revert: got %v, want code %s: one generation is kept", err, session.CodeConflict)
	}
}

func TestUpgradeToBrokenImageIsReverted(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.Engine.BehaveImage(brokenImage, runtimetest.Behaviour{Exits: true, ExitCode: 3})
	s, _ := h.Make(lifecycle.Request{})
	h.remember(t, s)
	w, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: brokenImage})
	after, err := h.wait(t, w, err)
	if session.CodeOf(err) != session.CodeUpgradeFailed || !strings.Contains(session.MessageOf(err), "code 3") {
		t.Errorf("got %v, want code %s and the cause", err, session.CodeUpgradeFailed)
	}
	if after.Status != session.Running || after.Image != "stub:1" || after.LastError == "" || h.remembered(t, after) != 1 {
		t.Errorf("got %+v, want it running on stub:1 with its state", after)
	}
}

func TestUpgradeOfStoppedSessionLeavesItStopped(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	h.Engine.BehaveImage(brokenImage, runtimetest.Behaviour{Exits: true, ExitCode: 3})
	s, _ := h.Make(lifecycle.Request{})
	w, err := h.Stop(t.Context(), s.ID)
	if _, err := h.wait(t, w, err); err != nil {
		t.Fatal(err)
	}
	w, err = h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: "stub:2"})
	after, err := h.wait(t, w, err)
	if err != nil || after.Status != session.Stopped || after.Image != "stub:2" {
		t.Errorf("got %s on %s, %v, want stopped on stub:2", after.Status, after.Image, err)
	}
	w, err = h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: brokenImage})
	after, err = h.wait(t, w, err)
	if session.CodeOf(err) != session.CodeUpgradeFailed || after.Status != session.Stopped || after.Image != "stub:2" {
		t.Errorf("got %s on %s, %v, want stopped on stub:2 as before", after.Status, after.Image, err)
	}
}

func TestUpgradeToProfileImageIsIdempotent(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	s, _ := h.Make(lifecycle.Request{Image: "mine:1"})
	for range 2 {
		w, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{})
		after, err := h.wait(t, w, err)
		if err != nil || after.Image != "stub:1" || after.ImageSource != session.ImageFromProfile {
			t.Fatalf("got %s from %q, %v, want the profile's image", after.Image, after.ImageSource, err)
		}
	}
	if calls := h.Engine.Calls(runtimetest.OpSaveState); len(calls) != 1 {
		t.Errorf("the state was copied %d times, want once: the second upgrade does nothing", len(calls))
	}
}

// An upgrade that is interrupted at any call is completed by the next process.
func TestInterruptedUpgradeIsFinishedByNextProcess(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"stub:2", brokenImage} {
		for _, op := range []runtimetest.Op{
			runtimetest.OpStop, runtimetest.OpSaveState, runtimetest.OpRemove, runtimetest.OpCreate, runtimetest.OpStart, runtimetest.OpRestoreState,
		} {
			if image == "stub:2" && op == runtimetest.OpRestoreState {
				continue
			}
			for _, acted := range []bool{false, true} {
				t.Run(image+" "+string(op), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						h := newFixture(t)
						h.Engine.BehaveImage(brokenImage, runtimetest.Behaviour{Exits: true, ExitCode: 3})
						s, _ := h.Make(lifecycle.Request{})
						h.remember(t, s)
						// From that call on, with or without its effect, the engine is unavailable to this process, and the process ends.
						h.Engine.Script(op, runtimetest.Step{Err: session.Errorf(session.CodeEngineUnavailable, "lost"), ActFirst: acted})
						w, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: image})
						if _, err := h.wait(t, w, err); session.CodeOf(err) != session.CodeEngineUnavailable {
							t.Fatalf("got %v, want code %s", err, session.CodeEngineUnavailable)
						}
						h.abandon(h.Manager)
						h.Routes.Clear()
						h.Manager = h.Process()
						want := image
						if image == brokenImage {
							want = "stub:1"
						}
						waittest.True(t, "the upgrade is completed", func() bool {
							if err := h.Reconcile(t.Context()); err != nil {
								t.Fatal(err)
							}
							now, err := h.Get(t.Context(), s.ID)
							route, _ := h.Routes.Get(s.ID)
							return err == nil && now.Operation == nil && now.Status == session.Running && now.Image == want && route.Running
						})
						now, err := h.Get(t.Context(), s.ID)
						if err != nil || h.remembered(t, now) != 1 {
							t.Errorf("the state has %d items, want 1 (%v)", h.remembered(t, now), err)
						}
					})
				})
			}
		}
	}
}

// A revert that is interrupted by a stop is completed by the next start.
func TestStartCompletesInterruptedRevert(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		s, _ := h.Make(lifecycle.Request{})
		h.remember(t, s)
		w, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: "stub:2"})
		up, err := h.wait(t, w, err)
		if err != nil {
			t.Fatal(err)
		}
		h.remember(t, up)
		release := make(chan struct{})
		h.Engine.Script(runtimetest.OpRestoreState, runtimetest.Step{Until: release})
		if _, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Back: true}); err != nil {
			t.Fatal(err)
		}
		waittest.True(t, "the restore has begun", func() bool { return len(h.Engine.Calls(runtimetest.OpRestoreState)) > 0 })
		w, err = h.Stop(t.Context(), s.ID)
		if _, err := h.wait(t, w, err); err != nil {
			t.Fatal(err)
		}
		close(release)
		if _, err = h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: "stub:3"}); session.CodeOf(err) != session.CodeConflict {
			t.Errorf("upgrade during the revert: got %v, want code %s", err, session.CodeConflict)
		}
		w, err = h.Start(t.Context(), s.ID)
		after, err := h.wait(t, w, err)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.remembered(t, after); got != 1 || after.Image != "stub:1" {
			t.Errorf("got %d items on %s, want 1 on stub:1: no server may see a partly replaced state", got, after.Image)
		}
	})
}
