package contract_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/postgrestest"
	"berth/test/harness"
)

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// withDatabase is an environment with its sessions in its own PostgreSQL.
type withDatabase struct {
	*harness.Env
	db *postgrestest.Server
}

// databaseEnv returns such an environment whose Berth is not started yet.
func databaseEnv(t *testing.T) withDatabase {
	t.Helper()
	w := withDatabase{Env: harness.NewStub(t), db: postgrestest.Start(t)}
	w.Vars["USE_DATABASE_STORAGE"], w.Vars["DATABASE_URL"] = "true", w.db.URL("postgres")
	return w
}

func databaseFileEnv(t *testing.T) withDatabase {
	t.Helper()
	w := databaseEnv(t)
	w.StartServe()
	return w
}

// query returns the lines of a query's answer, the columns of each with | between.
func (w withDatabase) query(t *testing.T, sql string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.db.URL("postgres"))
	harness.Must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), sql)
	harness.Must(t, err)
	lines, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		values, err := r.Values()
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = fmt.Sprint(v)
		}
		return strings.Join(texts, "|"), err
	})
	harness.Must(t, err)
	return lines
}

func tableIsTheContracts(t *testing.T) {
	w := databaseFileEnv(t)
	columns := w.query(t, `SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'sessions'`)
	for _, want := range []string{
		"session_id|character varying", "container_name|character varying", "container_id|character varying", "host_dir|character varying",
		"port|integer", "auth_token|character varying", "status|character varying", "metadata|jsonb",
		"created_at|timestamp with time zone", "last_accessed|timestamp with time zone",
	} {
		if !slices.Contains(columns, want) {
			t.Errorf("there is no column %s among %q", want, columns)
		}
	}
	indexes := strings.Join(w.query(t, `SELECT indexdef FROM pg_indexes WHERE tablename = 'sessions'`), "\n")
	for _, want := range []string{"UNIQUE INDEX sessions_pkey", "(session_id)", "(status)", "(last_accessed)", "(created_at)"} {
		if !strings.Contains(indexes, want) {
			t.Errorf("no index has %s:\n%s", want, indexes)
		}
	}
}

func statusesAreFour(t *testing.T) {
	w := fileEnv(t, map[string]string{"CONTAINER_MAX_RESTART_ATTEMPTS": "0"})
	admin := w.AdminToken()
	first := w.CallWith(http.MethodPost, "/sessions", admin, `{"profile":"slow"}`, http.Header{"Prefer": {"respond-async"}})
	second, _ := w.Create("{}")
	third, _ := w.Create("{}")
	w.Call(http.MethodPost, "/sessions/"+third+"/stop", admin, "")
	broken := w.Call(http.MethodPost, "/sessions", admin, `{"profile":"exit"}`)
	got := map[string]bool{first.Field("status"): true}
	for _, id := range []string{second, third, broken.Field("session_id")} {
		if id != "" {
			got[w.Call(http.MethodGet, "/sessions/"+id, admin, "").Field("status")] = true
		}
	}
	listed := w.Call(http.MethodGet, "/sessions?status=error", admin, "")
	if strings.Contains(string(listed.Body), `"status":"error"`) {
		got["error"] = true
	}
	want := map[string]bool{"creating": true, "running": true, "stopped": true, "error": true}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("statuses (-want +got):\n%s", d)
	}
}

func sessionsMoveIntoTheDatabase(t *testing.T) {
	w := databaseEnv(t)
	w.Vars["USE_DATABASE_STORAGE"] = "false" // JSON stays usable
	w.StartServe()
	id, token := w.Create("{}")
	w.Serve.Signal(os.Interrupt)
	w.Vars["USE_DATABASE_STORAGE"] = "true"
	w.StartServe()
	if got := w.query(t, "SELECT session_id, status FROM sessions"); len(got) != 1 || got[0] != id+"|running" {
		t.Errorf("in the database: got %q, want the session of the file", got)
	}
	if kept, _ := filepath.Glob(filepath.Join(w.Vars["BERTH_STATE_DIR"], "sessions.json.migrated-*")); len(kept) != 1 {
		t.Errorf("got %q, want the file kept", kept)
	}
	if a := w.Call(http.MethodGet, "/s/"+id+"/session", token, ""); a.Status != http.StatusOK {
		t.Errorf("the session and its token, from the database: got %s", a)
	}
	w.db.Stop()
	if a := w.Call(http.MethodGet, "/s/"+id+"/session", token, ""); a.Status != http.StatusOK {
		t.Errorf("while the database is unavailable: got %s, want the session served on", a)
	}
	harness.Eventually(t, 20*time.Second, "the database is reported as unavailable", func() error {
		if a := health(t, w.Env); a.Field("status") != "degraded" {
			return errors.New(a.String())
		}
		return nil
	})
	other, _ := w.Create("{}")
	w.db.Start()
	harness.Eventually(t, 30*time.Second, "the session that was created meanwhile is in the database", func() error {
		if a := health(t, w.Env); a.Field("status") != "healthy" {
			return errors.New(a.String())
		}
		if got := w.query(t, "SELECT session_id FROM sessions ORDER BY created_at"); !slices.Equal(got, []string{id, other}) {
			return errorf("got %q", got)
		}
		return nil
	})
}

func limitsAreOnTheContainer(t *testing.T) {
	w := fileEnv(t, map[string]string{"CONTAINER_MEMORY_LIMIT": "600m", "CONTAINER_CPU_QUOTA": "25000", "CONTAINER_CPU_PERIOD": "50000"})
	w.Create("{}")
	for _, c := range w.Containers() {
		got, err := dockertest.Client(t).ContainerInspect(t.Context(), c.ID, client.ContainerInspectOptions{})
		harness.Must(t, err)
		h := got.Container.HostConfig
		if h.Memory != 600<<20 || h.MemorySwap != 600<<20 || h.CPUQuota != 25000 || h.CPUPeriod != 50000 {
			t.Errorf("got memory %d, swap %d, quota %d of %d; want 600 MiB and no swap, 25000 of 50000", h.Memory, h.MemorySwap, h.CPUQuota, h.CPUPeriod)
		}
	}
}
