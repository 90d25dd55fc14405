package database_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/internal/postgrestest"
	"berth/test/harness"
)

// ends starts serve, waits until it has ended by itself, and returns its exit code and its log.
func ends(t *testing.T, w *harness.Env) (code int, log string) {
	t.Helper()
	w.LaunchServe()
	select {
	case <-w.Serve.Done:
	case <-time.After(60 * time.Second):
		t.Fatal("it keeps running")
	}
	text, err := os.ReadFile(w.Serve.Log)
	harness.Must(t, err)
	return w.Serve.Cmd.ProcessState.ExitCode(), string(text)
}

func TestTransactionPoolerPreventsStart(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["DATABASE_URL"] = postgrestest.StartPooler(t, w.db, "transaction").URL("postgres")
	code, log := ends(t, w.Env)
	if code != 2 || !strings.Contains(log, "a transaction pooler is between Berth and PostgreSQL") || !strings.Contains(log, "session mode") {
		t.Errorf("got the exit code %d and the log below, want 2 and the pooler named\n%s", code, log)
	}
	if strings.Contains(log, "cannot be reached") {
		t.Errorf("the log says that the database cannot be reached, although it answers:\n%s", log)
	}
}

// Without prepared statements Berth works behind a transaction pooler. It logs the limitation, and the other instance refuses a
// rotated token within seconds.
func TestRotatedTokenBehindTransactionPoolerIsRefusedWithinSeconds(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Vars["DATABASE_URL"] = postgrestest.StartPooler(t, w.db, "transaction").URL("postgres") + "&default_query_exec_mode=simple_protocol"
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	for _, on := range []*harness.Env{w.Env, second} {
		harness.Eventually(t, 20*time.Second, "it says that it is not notified of changes", func() error {
			h, err := healthOf(t.Context(), on)
			if err == nil && (h.Status != "degraded" || h.Database.Status != "degraded" || !strings.Contains(h.Database.Reason, "transaction pooler")) {
				err = fmt.Errorf("%+v", h)
			}
			return err
		})
	}
	id, token := w.Create(`{"metadata":{"team":"red"}}`)
	harness.Eventually(t, 10*time.Second, "the other instance serves the session", func() error { return serves(t, second, id, token, http.StatusOK) })
	for range 3 {
		fresh := w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "").Field("token")
		harness.Eventually(t, 4*time.Second, "the other instance refuses the old token", func() error {
			return serves(t, second, id, token, http.StatusUnauthorized)
		})
		if err := serves(t, second, id, fresh, http.StatusOK); err != nil {
			t.Errorf("the new token: %v", err)
		}
		token = fresh
	}
}

// A permanent fault ends the first start with the database, also if there is a session file. A later start continues with the
// known sessions.
func TestPermanentDatabaseFaultEndsFirstStart(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ old, fresh, want string }{
		"wrong password":   {":%s@", ":%s-and-more@", "the database refuses the user"},
		"missing database": {"/postgres?", "/absent?", "there is no database of that name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			password := func(format string) string {
				if strings.Contains(format, "%s") {
					return fmt.Sprintf(format, w.db.Password())
				}
				return format
			}
			right := w.Vars["DATABASE_URL"]
			wrong := strings.Replace(right, password(row.old), password(row.fresh), 1)
			storeOf(t, w, 3)
			w.Vars["DATABASE_URL"] = wrong
			code, log := ends(t, w.Env)
			if code != 2 || !strings.Contains(log, row.want) || !strings.Contains(log, "this failure is permanent") {
				t.Errorf("got the exit code %d and the log below, want 2 and %q\n%s", code, row.want, log)
			}
			if strings.Contains(log, w.db.Password()) {
				t.Error("the log shows the password")
			}
			w.Vars["DATABASE_URL"] = right
			w.StartServe()
			if h := healthy(t, w.Env); h.Database.Total != 3 {
				t.Errorf("the database has %d sessions, want the three of the file", h.Database.Total)
			}
			w.Serve.Signal(syscall.SIGTERM)
			<-w.Serve.Done
			w.Vars["DATABASE_URL"] = wrong
			w.StartServe()
			degraded(t, w.Env)
			if all, err := w.Sessions(t.Context()); err != nil || len(all) != 3 {
				t.Errorf("got %d sessions (%v), want the three that are known", len(all), err)
			}
		})
	}
}

// The cause of the failure is the process that has locked the file, and not the database.
func TestSessionFileInUseIsReportedAsSuch(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	file := w.Sibling("file")
	delete(file.Vars, "USE_DATABASE_STORAGE")
	delete(file.Vars, "DATABASE_URL")
	file.StartServe()
	w.Vars["BERTH_STATE_DIR"] = file.Vars["BERTH_STATE_DIR"]
	code, log := ends(t, w.Env)
	if code != 6 || !strings.Contains(log, "sessions.json is in use by process "+fmt.Sprint(file.Serve.Cmd.Process.Pid)) {
		t.Errorf("got the exit code %d and the log below, want 6 and the process that has the file\n%s", code, log)
	}
	if strings.Contains(log, "the database cannot be reached") {
		t.Errorf("the log blames the database, which answers:\n%s", log)
	}
}
