package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storage/postgres"
	"berth/internal/storetest"
	"berth/internal/waittest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Main(m)) }

// open returns a store on a database whose schema is up to date.
func open(t *testing.T, url string, change ...func(*postgres.Options)) *postgres.Store {
	t.Helper()
	s := unprepared(t, url, change...)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func unprepared(t *testing.T, url string, change ...func(*postgres.Options)) *postgres.Store {
	t.Helper()
	opts := postgres.Options{URL: session.Secret(url), MaxConnections: 3, Process: "node-a", Timeout: 20 * time.Second}
	for _, c := range change {
		c(&opts)
	}
	s, err := postgres.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// exec runs a statement outside of Berth.
func exec(t *testing.T, url, sql string) {
	t.Helper()
	conn := connect(t, url)
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func stopped(id session.ID) session.Session {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	return session.Session{ID: id, Status: session.Stopped, CreatedAt: at, LastAccessed: at, Owner: "ann"}
}

func running(id session.ID) session.Session {
	s := stopped(id)
	s.Status = session.Running
	return s
}

func create(t *testing.T, s *postgres.Store, v session.Session) session.Session {
	t.Helper()
	made, err := s.Create(t.Context(), v, session.Quota{})
	if err != nil {
		t.Fatalf("create %s: %v", v.ID, err)
	}
	return made
}

func wantCode(t *testing.T, err error, want session.Code, why string) {
	t.Helper()
	if got := session.CodeOf(err); got != want {
		t.Errorf("%s: got %v (code %q), want the code %q", why, err, got, want)
	}
}

func TestStoreSuite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) session.Store { return open(t, postgrestest.Database(t)) })
}

func TestStoreModel(t *testing.T) {
	t.Parallel()
	storetest.Model(t, func(t *testing.T) session.Store { return open(t, postgrestest.Database(t)) })
}

// Two processes that race for 50 slots with 200 creates end with exactly 50 sessions.
func TestLimitHoldsAcrossProcesses(t *testing.T) {
	t.Parallel()
	const calls, room = 200, 50
	url := postgrestest.Database(t)
	stores := []*postgres.Store{open(t, url), open(t, url)}
	var mu sync.Mutex
	var wg sync.WaitGroup
	ends := map[session.Code]int{}
	for i := range calls {
		wg.Go(func() {
			_, err := stores[i%2].Create(t.Context(), running(session.NewID()), session.Quota{Running: room})
			mu.Lock()
			defer mu.Unlock()
			ends[session.CodeOf(err)]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[session.Code]int{"": room, session.CodeLimit: calls - room}, ends); diff != "" {
		t.Errorf("how the creates ended (-want +got):\n%s", diff)
	}
	if st, err := stores[0].Count(t.Context(), time.Now()); err != nil || st.Active() != room {
		t.Errorf("got %+v, %v; want %d active sessions", st, err, room)
	}
}

func TestUnstorableCharactersAreRejected(t *testing.T) {
	t.Parallel()
	s := open(t, postgrestest.Database(t))
	v := stopped("ses-a")
	v.LastError = "a\x00b"
	_, err := s.Create(t.Context(), v, session.Quota{})
	wantCode(t, err, session.CodeInvalid, "U+0000 in a text")
	v.LastError, v.Metadata = "", map[string]any{"a": "\x00"}
	_, err = s.Create(t.Context(), v, session.Quota{})
	wantCode(t, err, session.CodeInvalid, "U+0000 in metadata")
}

// An invalid row is neither lost nor prevents others from being read.
func TestInvalidRowIsReadAsError(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	s := open(t, url)
	create(t, s, stopped("ses-good"))
	create(t, s, stopped("ses-odd"))
	exec(t, url, `UPDATE sessions SET status = 'paused', metadata = '[1]', port = NULL, auth_token = NULL, last_accessed = NULL,
		operation = 'dance', operation_owner = NULL WHERE session_id = 'ses-odd'`)
	exec(t, url, `INSERT INTO sessions (session_id) VALUES ('ses-bare')`)
	page, err := s.List(t.Context(), session.Query{})
	if err != nil || len(page.Sessions) != 3 {
		t.Fatalf("got %d sessions, %v; want 3", len(page.Sessions), err)
	}
	odd, err := s.Get(t.Context(), "ses-odd")
	if err != nil || odd.Status != session.Error || !strings.Contains(odd.LastError, `"paused"`) || odd.Operation != nil {
		t.Errorf("got %+v, %v; want an error that names the status", odd, err)
	}
	if diff := cmp.Diff(session.Metadata{"metadata": []any{json.Number("1")}}, odd.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if err := s.Delete(t.Context(), "ses-odd", odd.Revision); err != nil {
		t.Errorf("delete of the odd row: %v", err)
	}
	bare, err := s.Get(t.Context(), "ses-bare")
	if err != nil || bare.Status != session.Stopped {
		t.Errorf("got %+v, %v", bare, err)
	}
}

// A connection is retired after its maximum of queries.
func TestConnectionIsRetiredAfterMaxQueries(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	s := open(t, url, func(o *postgres.Options) { o.MaxConnections, o.MaxQueries = 1, 10 })
	backends := map[int]bool{}
	observer := connect(t, url)
	for range 50 {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		var pid int
		err := observer.QueryRow(t.Context(), `SELECT pid FROM pg_stat_activity WHERE application_name = 'berth' AND datname = current_database()
			ORDER BY backend_start DESC LIMIT 1`).Scan(&pid)
		if err == nil {
			backends[pid] = true
		} else if !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
	}
	if len(backends) < 4 || len(backends) > 8 {
		t.Errorf("50 queries at 10 for each connection used %d connections, want about 5", len(backends))
	}
}

// With every connection in use, calls fail within the store's time-out.
func TestExhaustedPoolFailsWithinTimeout(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	s := open(t, url, func(o *postgres.Options) { o.MaxConnections, o.Timeout = 2, time.Second })
	create(t, s, stopped("ses-a"))
	blocker := connect(t, url)
	tx, err := blocker.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := s.Get(t.Context(), "ses-a")
			if f, ok := errors.AsType[*session.Failure](err); !ok || f.Code != session.CodeStoreUnavailable || f.RetryAfter == 0 {
				t.Errorf("with every connection in use: got %v, want the store unavailable and when to try again", err)
			}
		})
	}
	wg.Wait()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "ses-a"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestReconnectsAfterServerRestart(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	url := server.URL("postgres")
	s := open(t, url, func(o *postgres.Options) { o.Timeout = 3 * time.Second })
	create(t, s, stopped("ses-a"))
	server.Stop()
	err := s.Ping(t.Context())
	wantCode(t, err, session.CodeStoreUnavailable, "ping without a server")
	if strings.Contains(err.Error(), server.Password()) {
		t.Error("the error shows the password")
	}
	server.Start()
	waittest.Until(t, "the database and its clients are as wanted", func() error {
		_, err := s.Get(t.Context(), "ses-a")
		return err
	})
	wrong := unprepared(t, strings.Replace(url, server.Password(), "nonsense-"+server.Password(), 1))
	err = wrong.Prepare(t.Context())
	wantCode(t, err, session.CodeStoreUnavailable, "a wrong password")
	if session.MessageOf(err) != "the database refuses the user" || strings.Contains(err.Error(), server.Password()) {
		t.Errorf("a wrong password: got %v", err)
	}
}

func TestInvalidSettingsAreRejected(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(postgres.Options{URL: "postgres://ann:secret@[broken/x"})
	wantCode(t, err, session.CodeInvalid, "a URL that is none")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the password: %v", err)
	}
	s, err := postgres.Open(postgres.Options{
		Host: "127.0.0.1", Port: 1, User: `o'neil \`, Password: `it's`, Database: "a b", SSLMode: "disable", Timeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantCode(t, s.Ping(t.Context()), session.CodeStoreUnavailable, "nobody listens")
}
