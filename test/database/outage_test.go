package database_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// The database is stopped for 20 s under load. Requests to sessions are answered, and acknowledged changes are in the database
// afterwards.
func TestDatabaseOutageUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	l := startLoad(t)
	for range 2 {
		id, token := w.Create(`{"owner":"user"}`)
		l.users(w.Env, id, token)
	}
	l.operator(w.Env, 4)
	l.operator(w.Env, 4)
	pause(t.Context(), 3*time.Second)
	w.db.Stop()
	degraded(t, w.Env)
	before := l.changed.Load()
	pause(t.Context(), 20*time.Second)
	if l.changed.Load() == before {
		t.Error("no change was possible during the outage")
	}
	w.db.Start()
	healthy(t, w.Env)
	pause(t.Context(), 2*time.Second)
	l.end()
	all := w.isConsistent(t, w.Env)
	l.kept(all)
	if h := healthy(t, w.Env); h.Database.Total != len(all) {
		t.Errorf("the database has %d sessions, want %d", h.Database.Total, len(all))
	}
	for id, token := range l.made {
		if s, ok := all[id]; ok && s.Status == "running" && !l.deleted[id] {
			if err := serves(t, w.Env, id, token, http.StatusOK); err != nil {
				t.Errorf("session %s with the newest token that was acknowledged: %v", id, err)
			}
		}
	}
}

// Changes that were acknowledged without the database reach it in spite of kills.
func TestOfflineChangesSurviveKill(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	stopped, _ := w.Create("")
	deleted, _ := w.Create("")
	rotated, _ := w.Create("")
	w.db.Kill()
	made, madeToken := w.Create("")
	w.act(t, http.MethodPost, "/sessions/"+stopped+"/stop", http.StatusOK)
	w.act(t, http.MethodDelete, "/sessions/"+deleted, http.StatusNoContent)
	token := w.act(t, http.MethodPost, "/sessions/"+rotated+"/auth/rotate", http.StatusOK).Field("token")

	w.Serve.Signal(syscall.SIGKILL)
	w.StartServe() // the database is unavailable at the start as well
	degraded(t, w.Env)
	if err := serves(t, w.Env, made, madeToken, http.StatusOK); err != nil {
		t.Errorf("a session that was made without the database, after a restart: %v", err)
	}
	again, _ := w.Create("")
	w.Serve.Signal(syscall.SIGKILL)

	w.db.Start()
	w.StartServe()
	h := healthy(t, w.Env)
	all := w.isConsistent(t, w.Env)
	for id, want := range map[string]string{stopped: "stopped", rotated: "running", made: "running", again: "running"} {
		if all[id].Status != want {
			t.Errorf("session %s is %+v, want it %s", id, all[id], want)
		}
	}
	if _, there := all[deleted]; there || h.Database.Total != 4 {
		t.Errorf("the deleted session is there: %v; the database has %d sessions, want 4", there, h.Database.Total)
	}
	if err := serves(t, w.Env, rotated, token, http.StatusOK); err != nil {
		t.Errorf("the token that was made without the database: %v", err)
	}
	if _, err := os.Stat(w.Vars["BERTH_STATE_DIR"] + "/database-pending.json"); err == nil {
		t.Error("the journal still exists although it was replayed")
	}
}

// act does something as the operator and fails the test unless it is answered so.
func (w *fixture) act(t *testing.T, method, path string, want int) harness.Answer {
	t.Helper()
	a := w.Call(method, path, w.AdminToken(), "")
	if a.Status != want {
		t.Fatalf("%s %s: got %s, want %d", method, path, a, want)
	}
	return a
}

func TestOutageWithoutFallbackRefusesWritesAndServesSessions(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["DB_FALLBACK"] = "false"
	w.StartServe()
	id, token := w.Create("")
	w.db.Stop()
	for path, method := range map[string]string{"/sessions": http.MethodPost, "/sessions/" + id + "/stop": http.MethodPost, "/sessions/" + id: http.MethodDelete} {
		a := w.Call(method, path, w.AdminToken(), "")
		if a.Status != http.StatusServiceUnavailable || a.Field("code") != "store_unavailable" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %s and Retry-After %q, want 503 store_unavailable", method, path, a, a.Header.Get("Retry-After"))
		}
	}
	if err := serves(t, w.Env, id, token, http.StatusOK); err != nil {
		t.Errorf("the running session: %v", err)
	}
	w.db.Start()
	harness.Eventually(t, 20*time.Second, "it works again by itself", func() error {
		a, err := w.Try(t.Context(), http.MethodPost, "/sessions/"+id+"/stop", w.AdminToken(), "")
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("%s", a)
		}
		return err
	})
}

// Requests to sessions do not wait for a slow database.
func TestSlowDatabaseDoesNotSlowProxy(t *testing.T) {
	t.Parallel()
	const delay = 500 * time.Millisecond // each way
	w := newFixture(t)
	relay := newRelay(t, w.db.Address())
	w.Vars["DATABASE_URL"] = strings.Replace(w.Vars["DATABASE_URL"], w.db.Address(), relay.address, 1)
	w.StartServe()
	id, token := w.Create("")
	relay.delay.Store(int64(delay))
	begun := time.Now()
	if _, err := w.Sessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < delay {
		t.Fatalf("a list took %s: the database is not slow: this test tests nothing", took)
	}
	for range 300 {
		begun := time.Now()
		if err := serves(t, w.Env, id, token, http.StatusOK); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took >= delay {
			t.Fatalf("a proxied request took %s, as if it had waited for the database", took)
		}
	}
}

// The password of the database is not in logs, command lines or /health.
func TestDatabasePasswordIsNotShown(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	password := w.db.Password()
	w.StartServe()
	w.Create("")
	w.db.Stop()
	degraded(t, w.Env)
	w.db.Start()
	healthy(t, w.Env)
	wrong := w.Sibling("wrong")
	wrong.Vars["DATABASE_URL"] = strings.Replace(w.Vars["DATABASE_URL"], password, password+"-and-more", 1)
	wrong.LaunchServe()
	<-wrong.Serve.Done
	if code := wrong.Serve.Cmd.ProcessState.ExitCode(); code != 2 { // what has to be changed by hand is not tried again
		t.Errorf("a wrong password: got exit code %d, want 2", code)
	}
	for _, p := range []*harness.Process{w.Serve, wrong.Serve} {
		text, err := os.ReadFile(p.Log)
		harness.Must(t, err)
		if strings.Contains(string(text), password) {
			t.Errorf("the log of %s shows the password", p.Name)
		}
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.Serve.Cmd.Process.Pid))
	harness.Must(t, err)
	if strings.Contains(string(command), password) {
		t.Error("the command line shows the password")
	}
	if a := w.Call(http.MethodGet, "/health", w.AdminToken(), ""); strings.Contains(string(a.Body), password) {
		t.Error("/health shows the password")
	}
}
