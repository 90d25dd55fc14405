package postgres_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"berth/internal/lifecycle"
	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storage/postgres"
	"berth/internal/storage/record"
)

// The contract fixes ten columns with their types, and three indexes.
func TestSchemaMatchesContract(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	open(t, url)
	conn := connect(t, url)
	got := query(t, conn, `SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_name = 'sessions' ORDER BY ordinal_position LIMIT 10`)
	want := []string{
		"session_id character varying", "container_name character varying", "container_id character varying", "host_dir character varying",
		"port integer", "auth_token character varying", "created_at timestamp with time zone", "last_accessed timestamp with time zone",
		"status character varying", "metadata jsonb",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"session_id"}, query(t, conn, `SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE i.indrelid = 'sessions'::regclass AND i.indisprimary`)); diff != "" {
		t.Errorf("primary key (-want +got):\n%s", diff)
	}
	for _, column := range []string{"status", "last_accessed", "created_at"} {
		if n := query(t, conn, `SELECT indexname FROM pg_indexes WHERE tablename = 'sessions' AND indexdef LIKE '%(`+column+`)'`); len(n) != 1 {
			t.Errorf("column %s has the indexes %v, want one", column, n)
		}
	}
}

// Every column of a session is in the table, with the type that the statements give it.
func TestSchemaHasEveryColumn(t *testing.T) {
	t.Parallel()
	types := map[record.ColumnType][]string{
		record.Text: {"character varying"}, record.Number: {"integer", "bigint"}, record.Instant: {"timestamp with time zone"},
		record.Document: {"jsonb"},
	}
	url := postgrestest.Database(t)
	open(t, url)
	conn := connect(t, url)
	for _, c := range record.Columns() {
		got := query(t, conn, `SELECT data_type FROM information_schema.columns WHERE table_name = 'sessions' AND column_name = '`+c.Name+`'`)
		if len(got) != 1 || !slices.Contains(types[c.Type], got[0]) {
			t.Errorf("the column %s has the types %v, want one of %v", c.Name, got, types[c.Type])
		}
	}
}

func query(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Processes that start at once bring the schema up to date once.
func TestConcurrentPrepareMigratesOnce(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	var wg sync.WaitGroup
	for range 4 {
		s := unprepared(t, url)
		wg.Go(func() {
			if err := s.Prepare(t.Context()); err != nil {
				t.Errorf("prepare: %v", err)
			}
		})
	}
	wg.Wait()
	files, err := fs.Glob(os.DirFS("migrations"), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, connect(t, url), `SELECT version_id::text FROM berth_migrations WHERE version_id > 0`); len(got) != len(files) {
		t.Errorf("the migrations %v were noted, want each of %v once", got, files)
	}
}

// The legacy service has a table of ten columns, with tokens in clear text.
func TestMigratesLegacyTable(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	exec(t, url, `CREATE TABLE sessions (session_id VARCHAR PRIMARY KEY, container_name VARCHAR, container_id VARCHAR, host_dir VARCHAR,
		port INTEGER, auth_token VARCHAR, created_at TIMESTAMP, last_accessed TIMESTAMP, status VARCHAR, metadata JSONB)`)
	exec(t, url, `INSERT INTO sessions VALUES ('abc', 'opencode-abc', 'c1', '/data/abc', 4000, 'sesame', '2024-01-15 10:30:45.123', NULL, 'running', '{"a": 1}'),
		('def', NULL, NULL, NULL, NULL, 'sesame', NULL, NULL, NULL, NULL)`)
	s := open(t, url)
	got, err := s.Get(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != session.Stopped || got.LastError == "" || got.Token.Digest != "" || got.HostDir != "/data/abc" || got.Revision != 1 ||
		got.CreatedAt.Format("2006-01-02T15:04:05.000Z07:00") != "2024-01-15T10:30:45.123Z" || got.Metadata["a"] != json.Number("1") {
		t.Errorf("got %+v", got)
	}
	got.Owner = "ann"
	if _, err := s.Update(t.Context(), got, session.Unlimited); err != nil {
		t.Errorf("update: %v", err)
	}
	if got, err := s.Get(t.Context(), "def"); err != nil || got.Status != session.Stopped || got.CreatedAt.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The table and the file of the legacy service are migrated alike.
func TestLegacyTableIsReadLikeLegacyFile(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	exec(t, url, `CREATE TABLE sessions (session_id VARCHAR PRIMARY KEY, container_name VARCHAR, container_id VARCHAR, host_dir VARCHAR,
		port INTEGER, auth_token VARCHAR, created_at TIMESTAMP, last_accessed TIMESTAMP, status VARCHAR, metadata JSONB)`)
	for _, status := range session.Statuses() {
		exec(t, url, `INSERT INTO sessions (session_id, status) VALUES ('`+string(status)+`', '`+string(status)+`')`)
	}
	s := open(t, url)
	for _, status := range session.Statuses() {
		got, err := s.Get(t.Context(), session.ID(status))
		if err != nil {
			t.Fatal(err)
		}
		var want session.Session
		lifecycle.Intake(&want, lifecycle.FromLegacyFile, string(status))
		if got.Status != want.Status || (got.LastError == "") != (want.LastError == "") {
			t.Errorf("%s there: got %s with the error %q, want %s with %q", status, got.Status, got.LastError, want.Status, want.LastError)
		}
	}
}

// The previous version must keep working while a newer one starts: migrations only add.
func TestMigrationsOnlyAdd(t *testing.T) {
	t.Parallel()
	taking := regexp.MustCompile(`(?i)\b(drop\s+(table|column|index|type|constraint|schema)|rename|truncate|delete\s+from|set\s+not\s+null|add\s+column\s+(if\s+not\s+exists\s+)?\S+\s+\S+\s+not\s+null\s*[,;])`)
	files, err := fs.Glob(os.DirFS("migrations"), "*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("got the files %v, %v", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile("migrations/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "00001_sessions.sql" { // nothing of ours runs before it
			text = []byte(strings.Replace(string(text), "ALTER COLUMN created_at SET NOT NULL", "", 1))
		}
		text = regexp.MustCompile(`(?m)^\s*--.*$`).ReplaceAll(text, nil)
		if found := taking.Find(text); found != nil {
			t.Errorf("%s takes something away: %q", name, found)
		}
	}
}

func TestImportIsAtomicAndIdempotent(t *testing.T) {
	t.Parallel()
	s := open(t, postgrestest.Database(t))
	create(t, s, stopped("ses-known"))
	older, newer, fresh := stopped("ses-known"), stopped("ses-other"), stopped("ses-new")
	older.Revision, newer.Revision, fresh.Revision, newer.Owner = 1, 7, 3, "bob"
	create(t, s, stopped("ses-other"))
	bad := fresh
	bad.LastError = "\x00"
	if _, err := s.Import(t.Context(), "file-1", []session.Session{fresh, bad}); session.CodeOf(err) != session.CodeInvalid {
		t.Errorf("an import with a session that cannot be stored: got %v, want it invalid", err)
	}
	if _, err := s.Get(t.Context(), "ses-new"); session.CodeOf(err) != session.CodeNotFound {
		t.Errorf("after an import that failed: got %v, want nothing of it", err)
	}
	for i := range 2 {
		done, err := s.Import(t.Context(), "file-1", []session.Session{older, newer, fresh})
		if err != nil || done.Total != 3 || done.Added != 2 || done.Known != 1 || done.Repeated != (i > 0) || done.At.IsZero() {
			t.Errorf("import %d: got %+v, %v", i+1, done, err)
		}
	}
	if got, err := s.Get(t.Context(), "ses-other"); err != nil || got.Revision != 7 || got.Owner != "bob" {
		t.Errorf("the newer one: got %+v, %v", got, err)
	}
	if all, err := s.Imports(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("got %+v, %v; want one import", all, err)
	}
}

func TestMergeRunsOnce(t *testing.T) {
	t.Parallel()
	s := open(t, postgrestest.Database(t))
	create(t, s, stopped("ses-a"))
	calls := 0
	rename := func(now *session.Session) *session.Session {
		calls++
		next := *now
		next.Owner, next.Revision = "bob", 2
		return &next
	}
	for range 2 {
		after, err := s.Merge(t.Context(), "key-1", "ses-a", rename)
		if err != nil || after == nil || after.Owner != "bob" || after.Revision != 2 {
			t.Fatalf("got %+v, %v", after, err)
		}
	}
	if calls != 1 {
		t.Errorf("decide was called %d times, want once", calls)
	}
	made := stopped("ses-b")
	made.Revision = 5
	after, err := s.Merge(t.Context(), "key-2", "ses-b", func(now *session.Session) *session.Session {
		if now != nil {
			t.Errorf("got %+v, want nothing there yet", now)
		}
		return &made
	})
	if err != nil || after.Revision != 5 {
		t.Errorf("got %+v, %v", after, err)
	}
	gone := func(*session.Session) *session.Session { return nil }
	for _, id := range []session.ID{"ses-a", "ses-b", "ses-never"} {
		if after, err := s.Merge(t.Context(), "key-3"+string(id), id, gone); err != nil || after != nil {
			t.Errorf("got %+v, %v", after, err)
		}
		if _, err := s.Get(t.Context(), id); session.CodeOf(err) != session.CodeNotFound {
			t.Errorf("%s: got %v, want it gone", id, err)
		}
	}
}

func TestTokenSecretOfFirstInstanceWins(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	stores := []*postgres.Store{open(t, url), open(t, url)}
	first, err := stores[0].Keep(t.Context(), "secret", "a")
	if err != nil || first != "a" {
		t.Fatalf("got %q, %v", first, err)
	}
	if second, err := stores[1].Keep(t.Context(), "secret", "b"); err != nil || second != "a" {
		t.Errorf("got %q, %v; want the first one's", second, err)
	}
}
