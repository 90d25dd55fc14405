package postgres_test

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"strings"
	"testing"

	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storage/postgres"
	"berth/internal/waittest"
)

func pinned(t *testing.T, s *postgres.Store) {
	t.Helper()
	if _, err := s.Keep(t.Context(), "instance", "ours"); err != nil {
		t.Fatal(err)
	}
	system, err := s.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Pin(postgres.Pin{System: system, Setting: "instance", Value: "ours"})
}

// A store works with the pinned database only, and not with another one at its address.
func TestPinnedStoreRejectsOtherDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := open(t, server.URL("postgres"))
	pinned(t, s)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	first := server.Data() + "-first"
	if err := os.Rename(server.Data(), first); err != nil {
		t.Fatal(err)
	}
	server.Another(server.Data())
	server.Start()
	refused := func(when string) {
		t.Helper()
		for what, try := range map[string]func(context.Context) error{"ping": s.Ping, "schema": s.Prepare, "lease": s.Peers().Join} {
			waittest.Until(t, "the database and its clients are as wanted", func() error { // connections of before the stop end with their next use
				err := try(t.Context())
				if err == nil {
					t.Fatalf("%s, %s: it works with another database", when, what)
				}
				if session.CodeOf(err) != session.CodeStoreUnavailable || !strings.HasPrefix(session.MessageOf(err), postgres.AnotherDatabase+server.Address()) {
					return fmt.Errorf("%s, %s: got %w; want that another database answers", when, what, err)
				}
				return nil
			})
		}
	}
	refused("empty")
	if got := server.Run("psql", "--quiet", "--tuples-only", "--no-align", "--dbname="+server.URL("postgres"), "--command",
		`SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); strings.TrimSpace(got) != "0" {
		t.Errorf("%s tables were made in the other database", got)
	}
	exec(t, server.URL("postgres"), `CREATE TABLE berth_settings (name VARCHAR PRIMARY KEY, value VARCHAR); INSERT INTO berth_settings VALUES ('instance', 'ours')`)
	refused("a copy by dump and restore")

	server.Stop()
	if err := os.RemoveAll(server.Data()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(first, server.Data()); err != nil {
		t.Fatal(err)
	}
	server.Start()
	waittest.Until(t, "the database answers", func() error { return s.Ping(t.Context()) })
	if !s.RolledBack().IsZero() {
		t.Error("the database is reported as rolled back")
	}
}

// A database that has lost acknowledged changes is detected at the first connection, once; an outage is no rollback.
func TestRolledBackDatabaseIsDetected(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := open(t, server.URL("postgres"))
	pinned(t, s)
	join := func() error { return s.Peers().Join(t.Context()) }
	waittest.Until(t, "the instance joins", join)
	server.Stop()
	old := server.Data() + "-old"
	if out, err := osexec.Command("cp", "-a", server.Data(), old).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server.Start()
	waittest.Until(t, "the instance joins", join)
	waittest.Until(t, "the instance joins", join)
	server.Kill()
	server.Start()
	waittest.Until(t, "the instance joins", join)
	if !s.RolledBack().IsZero() {
		t.Error("a database is reported as rolled back after an outage")
	}
	server.Kill()
	if err := os.RemoveAll(server.Data()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, server.Data()); err != nil {
		t.Fatal(err)
	}
	server.Start()
	waittest.Until(t, "the database answers", func() error { return s.Ping(t.Context()) })
	at := s.RolledBack()
	if at.IsZero() {
		t.Error("a rolled back database is not detected")
	}
	waittest.Until(t, "the instance joins", join)
	waittest.Until(t, "the instance joins", join)
	if !s.RolledBack().Equal(at) {
		t.Error("one rollback is reported twice")
	}
}
