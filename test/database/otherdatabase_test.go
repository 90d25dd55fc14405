package database_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// containersOf counts the containers that these sessions have.
func (w *fixture) containersOf(ids ...string) (n int) {
	for _, c := range w.Containers() {
		for _, id := range ids {
			if c.Labels["berth.session"] == id {
				n++
			}
		}
	}
	return n
}

// An empty database answers at the address of the one with the sessions: Berth continues without it, keeps the containers, does
// not start on it, and recovers with the original one.
func TestOtherDatabaseAtSameAddressIsRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["ORPHAN_GRACE"], w.Vars["RECONCILE_INTERVAL"] = "1", "1"
	w.StartServe()
	one, token := w.Create("")
	w.db.Stop()
	degraded(t, w.Env)
	two, _ := w.Create("")
	ours := w.db.Data() + "-ours"
	harness.Must(t, os.Rename(w.db.Data(), ours))
	w.db.Another(w.db.Data())
	w.db.Start()
	kept := func(when string) {
		t.Helper()
		harness.Eventually(t, 30*time.Second, "another database is named", func() error {
			h, err := healthOf(t.Context(), w.Env)
			if err == nil && (h.Status != "degraded" || !strings.HasPrefix(h.Database.Reason, "another database answers at ")) {
				err = fmt.Errorf("%+v", h)
			}
			return err
		})
		pause(t.Context(), 5*time.Second) // for some reconciliations
		if n := w.containersOf(one, two); n != 2 {
			t.Errorf("%s: %d of 2 containers are left", when, n)
		}
		if err := serves(t, w.Env, one, token, http.StatusOK); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	kept("another database")
	w.Serve.Signal(syscall.SIGTERM)
	w.LaunchServe()
	select {
	case <-w.Serve.Done:
	case <-time.After(60 * time.Second):
		t.Fatal("it starts on the empty database")
	}
	if n := w.containersOf(one, two); n != 2 {
		t.Errorf("after a restart: %d of 2 containers are left", n)
	}
	w.db.Stop()
	harness.Must(t, os.RemoveAll(w.db.Data()))
	harness.Must(t, os.Rename(ours, w.db.Data()))
	w.db.Start()
	w.StartServe()
	healthy(t, w.Env)
	if all := w.isConsistent(t, w.Env); all[one].Status != "running" || all[two].Status != "running" {
		t.Errorf("back with the database: got %+v", all)
	}
}

// A standby that lagged is promoted, or an older backup restored: the rollback is reported, the containers of lost sessions are
// kept, and a token that is rotated afterwards is invalid.
func TestRolledBackDatabaseIsReported(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["ORPHAN_GRACE"], w.Vars["RECONCILE_INTERVAL"] = "1", "1"
	w.StartServe()
	one, _ := w.Create("")
	w.db.Stop()
	old := w.db.Data() + "-old"
	if out, err := exec.Command("cp", "-a", w.db.Data(), old).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.db.Start()
	healthy(t, w.Env)
	late, _ := w.Create("")
	var lost string
	for range 5 {
		lost = w.act(t, http.MethodPost, "/sessions/"+one+"/auth/rotate", http.StatusOK).Field("token")
	}
	pause(t.Context(), 5*time.Second) // for a renewal
	w.db.Kill()
	degraded(t, w.Env)
	harness.Must(t, os.RemoveAll(w.db.Data()))
	harness.Must(t, os.Rename(old, w.db.Data()))
	w.db.Start()
	harness.Eventually(t, 30*time.Second, "the rollback is reported", func() error {
		h, err := healthOf(t.Context(), w.Env)
		if err == nil && (h.Status != "degraded" || h.Database.Status != "degraded" || !strings.HasPrefix(h.Database.Reason, "the database was rolled back to an earlier state")) {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
	fresh := w.act(t, http.MethodPost, "/sessions/"+one+"/auth/rotate", http.StatusOK).Field("token")
	for token, want := range map[string]int{lost: http.StatusUnauthorized, fresh: http.StatusOK} {
		if err := serves(t, w.Env, one, token, want); err != nil {
			t.Error(err)
		}
	}
	pause(t.Context(), 5*time.Second) // for some reconciliations
	if n := w.containersOf(late); n != 1 {
		t.Error("the container of a session that the database has lost is removed")
	}
	w.Serve.Signal(syscall.SIGTERM)
	w.StartServe()
	pause(t.Context(), 5*time.Second)
	if n := w.containersOf(late); n != 1 {
		t.Error("after a restart, the container of a session that the database has lost is removed")
	}
	if h, err := healthOf(t.Context(), w.Env); err != nil || h.Database.Status != "healthy" {
		t.Errorf("after a restart: got %+v, %v", h, err)
	}
}

// A state directory is copied, node included, and both are used on one database.
func TestCopiedStateDirectoryDoesNotStart(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	b := w.Sibling("second")
	if out, err := exec.Command("cp", "-a", w.Vars["BERTH_STATE_DIR"], b.Vars["BERTH_STATE_DIR"]).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.LaunchServe()
	select {
	case <-b.Serve.Done:
	case <-time.After(60 * time.Second):
		t.Fatal("the copy has not ended")
	}
	text, err := os.ReadFile(b.Serve.Log)
	harness.Must(t, err)
	if !strings.Contains(string(text), "Remove the file node from the copy") {
		t.Errorf("got %s", text)
	}
	harness.Must(t, os.Remove(b.Vars["BERTH_STATE_DIR"]+"/node"))
	b.StartServe()
	healthy(t, b)
	healthy(t, w.Env)
}
