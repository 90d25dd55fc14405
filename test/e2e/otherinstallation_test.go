package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/test/harness"
)

// forgetNewName removes at the end what a Berth leaves on the engine under a name that it has made itself.
func (w *fixture) forgetNewName(t *testing.T) (name string) {
	t.Helper()
	text, err := os.ReadFile(w.state("instance"))
	harness.Must(t, err)
	name = strings.TrimSpace(string(text))
	engine := dockertest.Client(t)
	t.Cleanup(func() {
		if w.Serve != nil {
			w.Serve.Signal(syscall.SIGKILL)
		}
		for _, mark := range []string{"berth-owner-", "berth-claim-"} {
			_, _ = engine.VolumeRemove(context.WithoutCancel(t.Context()), mark+name, client.VolumeRemoveOptions{})
		}
	})
	return name
}

// reasons returns why the whole is not healthy.
func (w *fixture) reasons(t *testing.T) string {
	t.Helper()
	var health struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons"`
	}
	harness.Must(t, json.Unmarshal(w.Call(http.MethodGet, "/health", w.AdminToken(), "").Body, &health))
	return health.Status + ": " + strings.Join(health.Reasons, "; ")
}

// A state directory that was emptied makes a new installation. That its sessions are still on the engine is said, and how to
// bring them back.
func TestLostStateDirectoryIsReported(t *testing.T) {
	t.Parallel()
	w, elsewhere := stubEnv(t), stubEnv(t)
	for _, world := range []*fixture{w, elsewhere} { // the installations of the engine cannot be told apart by themselves
		world.StartServe()
		world.Create("")
		world.Serve.Signal(syscall.SIGKILL)
	}
	harness.Must(t, os.RemoveAll(w.Vars["BERTH_STATE_DIR"]))
	w.Vars["DOCKER_NETWORK"] += "-new" // the other one is labelled as the old installation's
	w.StartServe()
	fresh := w.forgetNewName(t)
	harness.Eventually(t, 60*time.Second, "the loss is in /health", func() error {
		if got := w.reasons(t); !strings.HasPrefix(got, "degraded") || !strings.Contains(got, "berth store adopt --instance") || !strings.Contains(got, w.Instance+" (1 sessions)") {
			return fmt.Errorf("got %s", got)
		}
		return nil
	})
	w.Serve.Signal(syscall.SIGTERM)
	w.StartServe() // a restart does not end it
	harness.Eventually(t, 60*time.Second, "the loss is in /health", func() error {
		if got := w.reasons(t); !strings.Contains(got, w.Instance) {
			return fmt.Errorf("got %s", got)
		}
		return nil
	})
	w.Serve.Signal(syscall.SIGTERM)

	var report struct {
		Instance string         `json:"instance"`
		Others   map[string]int `json:"other_installations"`
	}
	harness.Must(t, json.Unmarshal([]byte(w.Run("store", "adopt", "--output", "json")), &report))
	if report.Instance != fresh || report.Others[w.Instance] != 1 || report.Others[elsewhere.Instance] != 1 {
		t.Errorf("adopt: got %+v, want the others named", report)
	}
	w.Run("store", "adopt", "--instance", w.Instance)
	w.StartServe()
	if all, err := w.Sessions(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("after adopt: got %+v, %v; want the session back", all, err)
	}
	if got := w.reasons(t); strings.Contains(got, "--instance") {
		t.Errorf("after adopt: got %s", got)
	}
}

// A second installation on the engine is no fault as long as the first one runs, and never the first one's.
func TestSecondInstallationIsNoFault(t *testing.T) {
	t.Parallel()
	first, second := stubEnv(t), stubEnv(t)
	first.StartServe()
	first.Create("")
	harness.Must(t, os.Remove(second.state("instance")))
	second.StartServe()
	fresh := second.forgetNewName(t)
	log := ""
	harness.Eventually(t, 60*time.Second, "the second one has asked", func() error {
		text, err := os.ReadFile(second.Serve.Log)
		log = string(text)
		if _, left := os.Stat(second.state("new-installation")); err == nil && left == nil && !strings.Contains(log, "may have been lost") {
			err = fmt.Errorf("not yet: %s", log)
		}
		return err
	})
	if !strings.Contains(log, "the engine has sessions of other installations") {
		t.Error("the log does not name the others")
	}
	if got := second.reasons(t); strings.Contains(got, first.Instance) {
		t.Errorf("the second one: got %s, want nothing of the first one", got)
	}
	if got := first.reasons(t); strings.Contains(got, fresh) || strings.Contains(got, "installation") {
		t.Errorf("the first one: got %s", got)
	}

	// To say that nothing was lost changes no name.
	second.Serve.Signal(syscall.SIGTERM)
	harness.Must(t, os.WriteFile(second.state("new-installation"), []byte("now\n"), 0o600))
	second.Run("store", "adopt", "--discard")
	if _, err := os.Stat(second.state("new-installation")); !os.IsNotExist(err) {
		t.Errorf("after --discard: got %v, want the note gone", err)
	}
	if text, _ := os.ReadFile(second.state("instance")); strings.TrimSpace(string(text)) != fresh {
		t.Errorf("after --discard the name is %q, want %q", text, fresh)
	}
	if a := first.Call(http.MethodPost, "/sessions", first.AdminToken(), ""); a.Status != http.StatusCreated {
		t.Errorf("the first one: got %s, want it running", a)
	}
}
