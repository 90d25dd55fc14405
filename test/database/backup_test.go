package database_test

import (
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"berth/test/harness"
)

// The backup and restore of docs/operating.md: a dump, the loss of everything, and a restore.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	id, token := w.Create(`{"owner":"ann","metadata":{"team":"red"}}`)
	stopped, _ := w.Create("")
	w.act(t, http.MethodPost, "/sessions/"+stopped+"/stop", http.StatusOK)
	before, err := w.Sessions(t.Context())
	harness.Must(t, err)

	dump := filepath.Join(t.TempDir(), "berth.dump")
	w.db.Run("pg_dump", "--format=custom", "--file="+dump, w.Vars["DATABASE_URL"])
	w.Serve.Signal(syscall.SIGTERM)
	w.db.Run("psql", "--quiet", "--dbname="+w.Vars["DATABASE_URL"], "--command",
		"DROP TABLE sessions, berth_instances, berth_settings, berth_imports, berth_merges, berth_migrations")
	w.db.Run("pg_restore", "--clean", "--if-exists", "--dbname="+w.Vars["DATABASE_URL"], dump)

	w.StartServe()
	after := w.isConsistent(t, w.Env)
	if len(after) != len(before) {
		t.Errorf("got %d sessions after the restore, want %d", len(after), len(before))
	}
	for name, s := range before {
		if after[name] != s {
			t.Errorf("session %s is %+v after the restore, want %+v", name, after[name], s)
		}
	}
	if err := serves(t, w.Env, id, token, http.StatusOK); err != nil {
		t.Errorf("a running session with its token after the restore: %v", err)
	}
	w.act(t, http.MethodPost, "/sessions/"+stopped+"/start", http.StatusOK)
}
