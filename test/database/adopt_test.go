package database_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/test/harness"
)

// emptyDatabase makes another database on the server and returns its URL.
func (w *fixture) emptyDatabase(t *testing.T, name string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.db.URL("postgres"))
	harness.Must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), "CREATE DATABASE "+name)
	harness.Must(t, err)
	return w.db.URL(name)
}

// Sessions are recovered after the loss of the database and of the state directory.
func TestAdoptRecoversSessionsOfLostDatabase(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["ORPHAN_GRACE"], w.Vars["RECONCILE_INTERVAL"] = "1", "1"
	w.StartServe()
	id, token := w.Create(`{"owner":"user"}`)
	before := w.Containers()[0].ID
	w.Serve.Signal(syscall.SIGKILL)
	w.Vars["DATABASE_URL"] = w.emptyDatabase(t, "fresh")

	// An empty database instead of one with sessions is an error until the operator confirms it.
	harness.Must(t, os.Remove(filepath.Join(w.Vars["BERTH_STATE_DIR"], "engine-owner")))
	w.StartServe() // the owner of the containers was another database, which does not answer
	pause(t.Context(), 4*time.Second)
	if c := w.Containers(); len(c) != 1 || c[0].ID != before || c[0].State != "running" {
		t.Fatalf("beside an empty database: got %+v, want the container untouched", c)
	}
	harness.Eventually(t, 30*time.Second, "/health is degraded", func() error {
		h, err := healthOf(t.Context(), w.Env)
		if err == nil && h.Status != "degraded" {
			err = fmt.Errorf("got %+v", h)
		}
		return err
	})
	w.Serve.Signal(syscall.SIGTERM)
	w.Run("store", "adopt")
	w.StartServe()
	if all := w.isConsistent(t, w.Env); all[id].Status != "running" || w.Containers()[0].ID != before {
		t.Errorf("after adopt: got %+v in %s, want it running where it was", all, w.Containers()[0].ID)
	}
	// The token secret was in the state directory too: credentials are the same, and the record has no token.
	harness.Eventually(t, 30*time.Second, "the old token is refused", func() error {
		return serves(t, w.Env, id, token, http.StatusUnauthorized)
	})
	fresh := w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "").Field("token")
	harness.Eventually(t, 30*time.Second, "the session is served", func() error { return serves(t, w.Env, id, fresh, http.StatusOK) })

	w.Serve.Signal(syscall.SIGKILL)
	harness.Must(t, os.RemoveAll(w.Vars["BERTH_STATE_DIR"]))
	w.Vars["DATABASE_URL"] = w.emptyDatabase(t, "fresher")
	w.Run("store", "adopt", "--instance", w.Instance)
	w.StartServe()
	if a := w.Call(http.MethodPost, "/sessions/"+id+"/start", w.AdminToken(), ""); a.Field("status") != "running" {
		t.Fatalf("start: got %s", a)
	}
	fresh = w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "").Field("token")
	harness.Eventually(t, 30*time.Second, "the session is served", func() error { return serves(t, w.Env, id, fresh, http.StatusOK) })
}

// Instances on one database share the containers; one with a copy of the state and a database of its own does not.
func TestInstanceWithCopiedStateAndOtherDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	w.Sibling("second").StartServe()
	w.Create("")
	copied := w.Sibling("copy")
	if out, err := exec.Command("cp", "-a", w.Vars["BERTH_STATE_DIR"], copied.Vars["BERTH_STATE_DIR"]).CombinedOutput(); err != nil {
		t.Fatalf("copy the state: %v\n%s", err, out)
	}
	copied.Vars["DATABASE_URL"] = w.emptyDatabase(t, "copied")
	harness.Must(t, os.Remove(filepath.Join(copied.Vars["BERTH_STATE_DIR"], "engine-owner"))) // else the empty database is refused
	w.Serve.Signal(syscall.SIGKILL)                                                           // the sibling answers for both
	copied.LaunchServe()
	select {
	case <-copied.Serve.Done:
	case <-time.After(30 * time.Second):
		t.Fatal("the copy runs")
	}
	text, err := os.ReadFile(copied.Serve.Log)
	if err != nil || !strings.Contains(string(text), "managed by another Berth") {
		t.Errorf("got %q, %v; want it refused", text, err)
	}
	w.StartServe()
	w.isConsistent(t, w.Env)
}
