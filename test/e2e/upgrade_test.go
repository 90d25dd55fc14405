package e2e_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/test/harness"
)

// images are names of the stub's image: as it is, and one whose server ends at once.
type images struct{ good, better, broken string }

// makeImages names them for one test and takes the names away again.
func makeImages(t *testing.T, w *fixture) images {
	t.Helper()
	api := dockertest.Client(t)
	stub := dockertest.StubProfile(t).Image
	made := images{good: w.Instance + ":good", better: w.Instance + ":better", broken: w.Instance + ":broken"}
	t.Cleanup(func() {
		for _, name := range []string{made.good, made.better, made.broken} {
			_, err := api.ImageRemove(context.WithoutCancel(t.Context()), name, client.ImageRemoveOptions{Force: true})
			if err != nil && !errdefs.IsNotFound(err) {
				t.Errorf("remove image %s: %v", name, err)
			}
		}
	})
	for _, name := range []string{made.good, made.better} {
		_, err := api.ImageTag(t.Context(), client.ImageTagOptions{Source: stub, Target: name})
		harness.Must(t, err)
	}
	made.breakImage(t, stub, made.broken)
	return made
}

// breakImage gives a name to an image whose server ends at once.
func (images) breakImage(t *testing.T, stub, name string) {
	t.Helper()
	api := dockertest.Client(t)
	made, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{Image: stub})
	harness.Must(t, err)
	_, err = api.ContainerCommit(t.Context(), made.ID, client.ContainerCommitOptions{Reference: name, Changes: []string{"ENV STUB_MODE=exit"}})
	harness.Must(t, err)
	_, err = api.ContainerRemove(t.Context(), made.ID, client.ContainerRemoveOptions{Force: true})
	harness.Must(t, err)
}

// settings writes the profile of these sessions anew.
func (w *fixture) settings(t *testing.T, change func(*session.Profile)) {
	t.Helper()
	p := dockertest.StubProfile(t)
	p.Env = maps.Clone(p.Env)
	change(&p)
	w.Profiles(map[string]session.Profile{"stub": p})
}

func (w *fixture) restartServe(t *testing.T) {
	t.Helper()
	w.Serve.Signal(syscall.SIGTERM)
	w.StartServe()
}

func (w *fixture) history(t *testing.T, id, token string) int {
	t.Helper()
	a := w.Call(http.MethodGet, "/s/"+id+"/session", token, "")
	var all []any
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &all) != nil {
		t.Fatalf("the session's own sessions: %s", a)
	}
	return len(all)
}

func (w *fixture) remember(t *testing.T, id, token string) {
	t.Helper()
	if a := w.Call(http.MethodPost, "/s/"+id+"/session", token, "{}"); a.Status != http.StatusOK {
		t.Fatalf("write into the session: %s", a)
	}
}

func (w *fixture) shown(t *testing.T, id string) (s struct {
	Status    string   `json:"status"`
	Image     string   `json:"image"`
	LastError string   `json:"last_error"`
	OutOfDate []string `json:"out_of_date"`
	Container string   `json:"container_id"`
},
) {
	t.Helper()
	a := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), "")
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &s) != nil {
		t.Fatalf("show %s: %s", id, a)
	}
	return s
}

func TestStopAndStartBringPresentSettingsToTheContainer(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	images := makeImages(t, w)
	w.settings(t, func(p *session.Profile) { p.Image = images.good })
	w.StartServe()
	id, token := w.Create("")
	w.remember(t, id, token)
	if s := w.shown(t, id); len(s.OutOfDate) > 0 {
		t.Errorf("a new session is out of date: %v", s.OutOfDate)
	}
	w.settings(t, func(p *session.Profile) { p.Image, p.Env["MORE"] = images.better, "1" })
	w.Vars["CONTAINER_MEMORY_LIMIT"] = "768m"
	w.restartServe(t)
	if got := strings.Join(w.shown(t, id).OutOfDate, " "); got != "image limits environment" {
		t.Errorf("out of date: got %q, want image, limits and environment", got)
	}
	for _, do := range []string{"stop", "start"} {
		if a := w.Call(http.MethodPost, "/sessions/"+id+"/"+do, w.AdminToken(), ""); a.Status != http.StatusOK {
			t.Fatalf("%s: %s", do, a)
		}
	}
	c := w.inspect(t, id)
	if c.Config.Image != images.better || c.HostConfig.Memory != 768<<20 || !contains(c.Config.Env, "MORE=1") {
		t.Errorf("got image %s, %d bytes, %v, want the present settings", c.Config.Image, c.HostConfig.Memory, c.Config.Env)
	}
	if s := w.shown(t, id); len(s.OutOfDate) > 0 || s.Image != images.better {
		t.Errorf("after the start: %+v", s)
	}
	if got := w.history(t, id, token); got != 1 {
		t.Errorf("the session remembers %d, want 1: its volumes stay", got)
	}
}

func TestUpgradeToBrokenImageKeepsImageAndState(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	images := makeImages(t, w)
	w.settings(t, func(p *session.Profile) { p.Image = images.good })
	w.StartServe()
	id, token := w.Create("")
	w.remember(t, id, token)
	a := w.Call(http.MethodPost, "/sessions/"+id+"/upgrade", w.AdminToken(), `{"image":"`+images.broken+`"}`)
	if a.Status != http.StatusBadGateway || a.Field("code") != "upgrade_failed" || !strings.Contains(a.Field("detail"), "code 3") {
		t.Errorf("got %s, want 502 upgrade_failed and why", a)
	}
	if s := w.shown(t, id); s.Status != "running" || s.Image != images.good || s.LastError == "" {
		t.Errorf("got %+v, want it running on %s", s, images.good)
	}
	if got := w.history(t, id, token); got != 1 {
		t.Errorf("the session remembers %d, want 1", got)
	}
	a = w.Call(http.MethodPost, "/sessions/"+id+"/upgrade", w.AdminToken(), `{"image":"berth-test/no-such-image:1"}`)
	if a.Status != http.StatusUnprocessableEntity || w.shown(t, id).Status != "running" {
		t.Errorf("upgrade to an image that is not there: %s, want 422 and a session that runs on", a)
	}
	w.onlySessions(t, 1)
}

func TestUpgradeByCommandLineAndBack(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	images := makeImages(t, w)
	w.settings(t, func(p *session.Profile) { p.Image = images.good })
	w.StartServe()
	id, token := w.Create("")
	w.remember(t, id, token)
	pinned, _ := w.Create(`{"image":"` + images.good + `"}`)
	w.settings(t, func(p *session.Profile) { p.Image = images.better })
	w.restartServe(t)
	w.Vars["BERTH_URL"] = w.URL
	out := w.Run("session", "upgrade", "--all", "--yes")
	if out != id+" is running on "+images.better+"\n" || w.shown(t, pinned).Image != images.good {
		t.Errorf("got %q, want %s alone: the other one's image was chosen", out, id)
	}
	w.remember(t, id, token)
	if out := w.Run("session", "upgrade", id, "--yes"); out != id+" is up to date on "+images.better+"\n" {
		t.Errorf("upgrade of a session that is up to date: got %q, want it to say so", out)
	}
	w.Run("session", "upgrade", "--back", id, "--yes")
	if got, s := w.history(t, id, token), w.shown(t, id); got != 1 || s.Image != images.good {
		t.Errorf("got %d remembered on %s, want 1, as at the upgrade, on %s", got, s.Image, images.good)
	}
	w.onlySessions(t, 2)
	w.Run("session", "rm", id, pinned, "--yes")
	w.nothingLeft(t)
}

// The image's own cp, user and directories, and the database of a real server.
func TestOpenCodeKeepsItsHistoryThroughAnUpgradeAndBack(t *testing.T) {
	t.Parallel()
	w := opencodeEnv(t)
	present, image := harness.OpenCodeImage(t), w.Instance+":next"
	api := dockertest.Client(t)
	_, err := api.ImageTag(t.Context(), client.ImageTagOptions{Source: present, Target: image})
	harness.Must(t, err)
	t.Cleanup(func() {
		_, _ = api.ImageRemove(context.WithoutCancel(t.Context()), image, client.ImageRemoveOptions{Force: true})
	})
	id, token := w.Create(`{"image":"` + present + `"}`)
	w.remember(t, id, token)
	for _, step := range []struct {
		body       string
		remembered int
	}{{`{"image":"` + image + `"}`, 1}, {`{"back":true}`, 1}} {
		if a := w.Call(http.MethodPost, "/sessions/"+id+"/upgrade", w.AdminToken(), step.body); a.Status != http.StatusOK {
			t.Fatalf("upgrade with %s: %s", step.body, a)
		}
		if got := w.history(t, id, token); got != step.remembered {
			t.Errorf("after %s the server remembers %d, want %d", step.body, got, step.remembered)
		}
		w.remember(t, id, token)
	}
	w.onlySessions(t, 1)
}

// onlySessions checks that nothing is left of the copying.
func (w *fixture) onlySessions(t *testing.T, n int) {
	t.Helper()
	if all := w.Containers(); len(all) != n {
		t.Errorf("%d containers, want %d: %v", len(all), n, all)
	}
}

// The engine's name server answers every container on the network for all of its neighbours.
func TestNeighbourLearnsNoSessionIDFromTheNameServer(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	secret, _ := w.Create("")
	id, token := w.Create("")
	neighbour := w.inspect(t, secret)
	at := neighbour.NetworkSettings.Networks[w.Instance+"-internal"].IPAddress.String()
	a := w.Call(http.MethodGet, "/s/"+id+"/names?addr="+at, token, "")
	if a.Status != http.StatusOK || !strings.Contains(string(a.Body), strings.TrimPrefix(neighbour.Name, "/")) {
		t.Fatalf("the names of %s: %s, want the container's among them", at, a)
	}
	if strings.Contains(string(a.Body), strings.TrimPrefix(secret, "ses-")) {
		t.Errorf("the names of %s tell the session's ID: %s", at, a.Body)
	}
}

func TestMistypedImageLeavesNoSession(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	for _, c := range []struct{ image, code string }{
		{"berth-test/no-such-image:1", "image_not_found"}, {"Berth Test", "invalid_request"}, {"UPPER/case", "invalid_request"}, {"../../info", "invalid_request"}, {"a?b", "invalid_request"},
	} {
		body, err := json.Marshal(map[string]string{"image": c.image})
		harness.Must(t, err)
		for _, prefer := range []string{"", "respond-async"} {
			a := w.CallWith(http.MethodPost, "/sessions", w.AdminToken(), string(body), http.Header{"Prefer": {prefer}})
			if a.Status != http.StatusUnprocessableEntity || a.Field("code") != c.code || !strings.Contains(a.Field("detail"), c.image) {
				t.Errorf("create with image %q: %s, want 422 %s that names it", c.image, a, c.code)
			}
		}
	}
	if all, err := w.Sessions(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("got %v, %v, want no session", all, err)
	}
}

func TestOversizedProfileDoesNotAffectOthers(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["CONTAINER_MEMORY_LIMIT"] = "256m"
	w.StartServe()
	w.Create("")
	a := w.Call(http.MethodPost, "/sessions", w.AdminToken(), `{"profile":"opencode"}`)
	if a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Field("detail"), "CONTAINER_MEMORY_LIMIT") {
		t.Errorf("create with the profile opencode: %s, want 422 that names CONTAINER_MEMORY_LIMIT", a)
	}
}
