package database_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/internal/session"
	"berth/internal/storage/jsonfile"
	"berth/test/harness"
)

// storeOf writes a session file of so many stopped sessions.
func storeOf(t *testing.T, w *fixture, count int) {
	t.Helper()
	all := make([]session.Session, count)
	for i := range all {
		id := session.ID(fmt.Sprintf("ses-moved-%05d", i))
		at := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
		all[i] = session.Session{
			ID: id, Owner: fmt.Sprint("user-", i%100), Profile: "stub", ContainerName: "berth-" + string(id), Status: session.Stopped,
			CreatedAt: at, LastAccessed: at, Token: session.Token{Digest: strings.Repeat("0f", 32)}, Revision: int64(1 + i%5), Metadata: map[string]any{"n": i},
		}
	}
	data, err := jsonfile.Write(all)
	harness.Must(t, err)
	harness.Must(t, os.WriteFile(filepath.Join(w.Vars["BERTH_STATE_DIR"], "sessions.json"), data, 0o600))
}

// The first start with a database is killed again and again, at random moments. It ends with every session there once,
// and the file kept as a backup.
func TestMigrationOfTenThousandSessionsSurvivesKills(t *testing.T) {
	t.Parallel()
	const count = 10_000
	w := newFixture(t)
	storeOf(t, w, count)
	for range 8 {
		w.LaunchServe()
		pause(t.Context(), time.Duration(rand.IntN(1500))*time.Millisecond)
		w.Serve.Signal(syscall.SIGKILL)
	}
	w.LaunchServe()
	harness.Eventually(t, 90*time.Second, "every session is in the database", func() error {
		h, err := healthOf(t.Context(), w.Env)
		if err == nil && (h.Backend != "database" || h.Database.Total != count || h.Status != "healthy") {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
	all, err := w.Sessions(t.Context())
	harness.Must(t, err)
	if len(all) != count {
		t.Errorf("got %d sessions, want %d", len(all), count)
	}
	h := healthy(t, w.Env)
	if len(h.Database.Imports) != 1 || h.Database.Imports[0].Total != count {
		t.Errorf("/health lists the imports %+v, want one of %d", h.Database.Imports, count)
	}
	backups, err := filepath.Glob(filepath.Join(w.Vars["BERTH_STATE_DIR"], "sessions.json.migrated-*"))
	harness.Must(t, err)
	if len(backups) != 1 {
		t.Fatalf("got the backups %v, want one", backups)
	}
	data, err := os.ReadFile(backups[0])
	harness.Must(t, err)
	if kept, err := jsonfile.Read(data, func(string) string { return "" }); err != nil || len(kept.Sessions) != count {
		t.Errorf("the backup has %d sessions (%v), want %d", len(kept.Sessions), err, count)
	}
}

// The first start with a database that cannot be reached continues with the file's sessions.
func TestFirstStartWithoutDatabaseUsesFile(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	storeOf(t, w, 20)
	w.db.Stop()
	w.StartServe()
	degraded(t, w.Env)
	made, token := w.Create("")
	w.db.Start()
	h := healthy(t, w.Env)
	if h.Database.Total != 21 {
		t.Errorf("the database has %d sessions, want those of the file and the new one", h.Database.Total)
	}
	if err := serves(t, w.Env, made, token, 200); err != nil {
		t.Error(err)
	}
}

// An empty session file must not be created while the database has the sessions: their containers would be orphans.
func TestFileStorageAfterDatabaseNeedsExport(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	id, token := w.Create("")
	w.Serve.Signal(syscall.SIGTERM)
	w.Vars["USE_DATABASE_STORAGE"] = "false"
	w.LaunchServe()
	<-w.Serve.Done
	text, err := os.ReadFile(w.Serve.Log)
	harness.Must(t, err)
	if w.Serve.Cmd.ProcessState.ExitCode() == 0 || !strings.Contains(string(text), "berth store export") {
		t.Fatalf("got exit code %d and %s; want a refusal that names the way back", w.Serve.Cmd.ProcessState.ExitCode(), text)
	}
	w.Vars["USE_DATABASE_STORAGE"] = "true"
	w.Run("store", "export", "--output", filepath.Join(w.Vars["BERTH_STATE_DIR"], "sessions.json"))
	w.Vars["USE_DATABASE_STORAGE"] = "false"
	w.StartServe()
	if err := serves(t, w.Env, id, token, 200); err != nil {
		t.Errorf("the session after the way back: %v", err)
	}

	// And there again, by hand.
	w.Serve.Signal(syscall.SIGTERM)
	w.Vars["USE_DATABASE_STORAGE"] = "true"
	file := filepath.Join(w.Vars["BERTH_STATE_DIR"], "sessions.json")
	if out := w.Run("store", "import", "--output", "json", file); !strings.Contains(out, `"known": 1`) || !strings.Contains(out, `"added": 0`) {
		t.Errorf("import of what the database has: got %s", out)
	}
	w.db.Run("psql", "--quiet", "--dbname="+w.Vars["DATABASE_URL"], "--command", "DELETE FROM sessions; DELETE FROM berth_imports")
	if out := w.Run("store", "import", "--output", "json", file); !strings.Contains(out, `"added": 1`) {
		t.Errorf("import into an empty database: got %s", out)
	}
	if out := w.Run("store", "status"); !strings.Contains(out, "database") || !regexp.MustCompile(`running +1`).MatchString(out) {
		t.Errorf("status: got %s", out)
	}
}
