package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/test/harness"
)

// state is a file of the state directory.
func (w *fixture) state(name string) string { return filepath.Join(w.Vars["BERTH_STATE_DIR"], name) }

// lose removes files of the state directory.
func (w *fixture) lose(names ...string) {
	for _, name := range names {
		_ = os.RemoveAll(w.state(name))
	}
}

// refusedToStart starts serve and returns what it said when it ended.
func (w *fixture) refusedToStart(t *testing.T) string {
	t.Helper()
	w.LaunchServe()
	select {
	case <-w.Serve.Done:
	case <-time.After(40 * time.Second):
		t.Fatal("serve did not end")
	}
	text, err := os.ReadFile(w.Serve.Log)
	harness.Must(t, err)
	if w.Serve.Cmd.ProcessState.ExitCode() == 0 {
		t.Errorf("serve has ended without an error")
	}
	return string(text)
}

// serviceUser has the state directory of a service that root rescues.
const serviceUser = 64321

// serviceDirectory recreates the state directory, as that of a service with a user of its own where the test is root.
func (w *fixture) serviceDirectory(t *testing.T) {
	t.Helper()
	harness.Must(t, os.Mkdir(w.Vars["BERTH_STATE_DIR"], 0o700))
	if os.Geteuid() == 0 {
		harness.Must(t, os.Chown(w.Vars["BERTH_STATE_DIR"], serviceUser, serviceUser))
	}
}

// isServices checks that everything in the state directory belongs to the directory's owner.
func (w *fixture) isServices(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	files, err := os.ReadDir(w.Vars["BERTH_STATE_DIR"])
	harness.Must(t, err)
	for _, f := range files {
		info, err := f.Info()
		harness.Must(t, err)
		if stat, _ := info.Sys().(*syscall.Stat_t); stat.Uid != serviceUser || stat.Gid != serviceUser {
			t.Errorf("%s belongs to %d:%d, want %d", f.Name(), stat.Uid, stat.Gid, serviceUser)
		}
	}
}

// volumesOf counts the volumes of a session, whoever's they are.
func (w *fixture) volumesOf(t *testing.T, id string) int {
	t.Helper()
	list, err := dockertest.Client(t).VolumeList(t.Context(), client.VolumeListOptions{Filters: client.Filters{}.Add("label", "berth.session="+id)})
	harness.Must(t, err)
	return len(list.Items)
}

// containerOf returns the ID of a session's container, "" if it has none, and whether it runs. The session may be without a
// record: what counts is the engine.
func (w *fixture) containerOf(t *testing.T, id string) (string, bool) {
	t.Helper()
	list, err := dockertest.Client(t).ContainerList(t.Context(), client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", "berth.session="+id),
	})
	harness.Must(t, err)
	for _, c := range list.Items {
		return c.ID, c.State == "running"
	}
	return "", false
}

// served makes a request to a session and checks the status.
func (w *fixture) served(t *testing.T, id, token string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, "session "+id+" is served", func() error {
		a, err := w.Try(t.Context(), http.MethodGet, "/s/"+id+"/global/health", token, "")
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("got %s", a)
		}
		return err
	})
}

// An empty store beside running sessions has lost them. It takes nothing from the engine, and they can be brought back.
func TestEmptyStoreEndsNothingAndAdoptBringsTheSessionsBack(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["ORPHAN_GRACE"], w.Vars["RECONCILE_INTERVAL"] = "1", "1"
	w.StartServe()
	id, _ := w.Create(`{"owner":"user"}`)
	container, _ := w.containerOf(t, id)
	w.Serve.Signal(syscall.SIGTERM)
	w.lose("sessions.json", "sessions.json.previous")

	w.StartServe()
	other, _ := w.Create("")
	var health struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons"`
	}
	<-time.After(4 * time.Second) // several passes, and several times the grace
	harness.Must(t, json.Unmarshal(w.Call(http.MethodGet, "/health", w.AdminToken(), "").Body, &health))
	if health.Status != "degraded" || !strings.Contains(strings.Join(health.Reasons, " "), "berth store adopt") {
		t.Errorf("got health %+v, want degraded and what to do", health)
	}
	if now, running := w.containerOf(t, id); now != container || !running {
		t.Fatalf("the lost session's container is %q, running %t; want %q untouched", now, running, container)
	}

	w.Serve.Signal(syscall.SIGTERM)
	if out := w.Run("store", "adopt", "--dry-run"); !strings.Contains(out, id) || strings.Contains(out, other) {
		t.Errorf("dry run: got %q, want the lost session alone", out)
	}
	w.Run("store", "adopt")
	w.StartServe()
	all, err := w.Sessions(t.Context())
	if err != nil || all[id].Status != "running" || all[other].Status != "running" || len(all) != 2 {
		t.Fatalf("after adopt: got %+v, %v; want both running", all, err)
	}
	if now, _ := w.containerOf(t, id); now != container {
		t.Errorf("the container is %q, want %q, which still fits", now, container)
	}
	w.served(t, id, w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "").Field("token"))
	if a := w.Call(http.MethodGet, "/health", w.AdminToken(), ""); a.Field("status") != "healthy" {
		t.Errorf("after adopt: got %s, want healthy", a)
	}
}

// Adopting one session of several keeps the others.
func TestAdoptOfOneSessionKeepsTheOthers(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["ORPHAN_GRACE"], w.Vars["RECONCILE_INTERVAL"] = "1", "1"
	w.StartServe()
	one, _ := w.Create("")
	two, _ := w.Create("")
	container, _ := w.containerOf(t, two)
	w.Serve.Signal(syscall.SIGTERM)
	w.lose("sessions.json", "sessions.json.previous")
	w.Run("store", "adopt", one)
	w.StartServe()
	harness.Eventually(t, 20*time.Second, "the other session's container is counted as kept", func() error {
		a, err := w.Try(t.Context(), http.MethodGet, "/health", w.AdminToken(), "")
		if err == nil && !strings.Contains(string(a.Body), "berth store adopt") {
			err = fmt.Errorf("got %s", a)
		}
		return err
	})
	<-time.After(4 * time.Second) // several passes, and several times the grace
	if now, running := w.containerOf(t, two); now != container || !running {
		t.Fatalf("the other session's container is %q, running %t; want %q untouched", now, running, container)
	}
	w.Serve.Signal(syscall.SIGTERM)
	w.Run("store", "adopt")
	w.StartServe()
	if all, err := w.Sessions(t.Context()); err != nil || all[one].Status != "running" || all[two].Status != "running" {
		t.Errorf("after adopt: got %+v, %v; want both running", all, err)
	}
}

// A container that copies state is no session, and one that cannot be adopted does not keep the others from it.
func TestAdoptSkipsUnusableContainers(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	ids := make([]string, 3)
	for i := range ids {
		ids[i], _ = w.Create("")
	}
	name := w.ContainerOf(ids[0])
	w.Serve.Signal(syscall.SIGTERM)
	api := dockertest.Client(t)
	for stray, helper := range map[string]string{name + "-copy": "copy", "zz-" + w.Instance: ""} {
		labels := map[string]string{"berth.session": ids[0], "berth.instance": w.Instance, "berth.container": name}
		if helper != "" {
			labels["berth.helper"] = helper
		}
		made, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Name: stray, Config: &container.Config{Image: dockertest.StubProfile(t).Image, Labels: labels},
		})
		harness.Must(t, err)
		t.Cleanup(func() {
			_, err := api.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, client.ContainerRemoveOptions{Force: true})
			harness.Must(t, err)
		})
	}
	w.lose("sessions.json", "sessions.json.previous")
	out := w.Run("store", "adopt")
	if strings.Count(out, ids[0]) != 2 || !strings.Contains(out, "another container") {
		t.Errorf("got %q, want the session and its other container, and no helper", out)
	}
	w.StartServe()
	all, err := w.Sessions(t.Context())
	if err != nil || len(all) != len(ids) {
		t.Fatalf("got %+v, %v; want %d sessions", all, err, len(ids))
	}
	for _, s := range all {
		if s.Status != "running" {
			t.Errorf("got %+v, want it running", s)
		}
	}
}

// With the state directory the token secret is lost: the containers cannot be reached, and their volumes are what counts.
func TestAdoptAfterTheLossOfTheStateDirectory(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	id, _ := w.Create("")
	gone, _ := w.Create("")
	before, _ := w.containerOf(t, id)
	missing, _ := w.containerOf(t, gone)
	w.Serve.Signal(syscall.SIGKILL)
	harness.Must(t, os.RemoveAll(w.Vars["BERTH_STATE_DIR"]))
	w.serviceDirectory(t)
	_, err := dockertest.Client(t).ContainerRemove(t.Context(), missing, client.ContainerRemoveOptions{Force: true})
	harness.Must(t, err)

	out := w.Run("store", "adopt", "--instance", w.Instance)
	if !strings.Contains(out, id) || !strings.Contains(out, gone) {
		t.Errorf("got %q, want both sessions", out)
	}
	w.isServices(t)
	w.StartServe()
	w.isServices(t)
	for _, id := range []string{id, gone} {
		if a := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), ""); a.Field("status") != "stopped" || !strings.Contains(a.Field("last_error"), "session rotate") {
			t.Errorf("after adopt: got %s, want it stopped, and to read what is not known", a)
		}
		if n := w.volumesOf(t, id); n != 2 {
			t.Errorf("session %s has %d volumes, want both", id, n)
		}
		if a := w.Call(http.MethodPost, "/sessions/"+id+"/start", w.AdminToken(), ""); a.Field("status") != "running" {
			t.Fatalf("start: got %s", a)
		}
		w.served(t, id, w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "").Field("token"))
	}
	if now, _ := w.containerOf(t, id); now == before {
		t.Error("the container is the old one, whose credential is lost")
	}
}

// What stays on the engine under another installation's name must not be called deleted.
func TestSessionOfAnotherInstallationIsNotCalledDeleted(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	id, _ := w.Create("")
	container, _ := w.containerOf(t, id)
	w.Serve.Signal(syscall.SIGKILL)
	w.forgetName(t)
	harness.Must(t, os.WriteFile(w.state("instance"), []byte(dockertest.Instance(t)+"\n"), 0o600))
	w.StartServe()
	for _, call := range [][2]string{{http.MethodPost, "/stop"}, {http.MethodDelete, ""}} {
		if a := w.Call(call[0], "/sessions/"+id+call[1], w.AdminToken(), ""); a.Status != http.StatusConflict {
			t.Errorf("%s %s: got %s, want 409: it runs on", call[0], call[1], a)
		}
	}
	if now, running := w.containerOf(t, id); now != container || !running || w.volumesOf(t, id) != 2 {
		t.Errorf("the container is %q, running %t, with %d volumes; want all of it untouched", now, running, w.volumesOf(t, id))
	}
	if a := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), ""); a.Status != http.StatusOK {
		t.Errorf("the record: got %s, want it kept", a)
	}
}

// Of two Berths with the same state, one has the containers.
func TestCopyOfAStateDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["ORPHAN_GRACE"], w.Vars["RECONCILE_INTERVAL"] = "1", "1"
	w.StartServe()
	id, token := w.Create("")
	second := &fixture{w.Sibling("second")}
	if out, err := exec.Command("cp", "-a", w.Vars["BERTH_STATE_DIR"], second.Vars["BERTH_STATE_DIR"]).CombinedOutput(); err != nil {
		t.Fatalf("copy the state: %v\n%s", err, out)
	}
	later, _ := w.Create("") // the copy does not know it
	for range 2 {
		if said := second.refusedToStart(t); !strings.Contains(said, "managed by another Berth") {
			t.Errorf("got %q, want it refused", said)
		}
		// The first one may die and come back as ever.
		w.Serve.Signal(syscall.SIGKILL)
		begun := time.Now()
		w.StartServe()
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("the restart of the owner took %s, want no question to others", took)
		}
	}
	w.served(t, id, token)

	// It moves there for good, in two ways: the first one is taken the containers from, or it has ended.
	second.Run("store", "adopt", "--take-over", "--dry-run")
	second.Run("store", "adopt", "--take-over")
	select {
	case <-w.Serve.Done:
	case <-time.After(30 * time.Second):
		t.Fatal("the first Berth goes on although it was taken the containers from")
	}
	second.StartServe()
	second.served(t, id, token)
	if said := w.refusedToStart(t); !strings.Contains(said, "managed by another Berth") {
		t.Errorf("the first one: got %q, want it refused now", said)
	}
	second.Serve.Signal(syscall.SIGKILL)
	w.StartServe() // no other Berth responds: it takes them back
	w.served(t, id, token)
	if _, running := w.containerOf(t, later); !running {
		t.Error("a session that the copy did not know has lost its container")
	}
}
