package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storage/postgres"
	"berth/internal/storetest"
)

func TestTransactionPoolerErrorIsPermanent(t *testing.T) {
	t.Parallel()
	pooler := postgrestest.StartPooler(t, postgrestest.Start(t), "transaction")
	s := unprepared(t, pooler.URL("postgres"))
	err := s.Prepare(t.Context())
	if err == nil || !strings.Contains(err.Error(), "transaction pooler") || !strings.Contains(err.Error(), "session mode") {
		t.Errorf("got %v, want the pooler and what to do", err)
	}
	if !postgres.IsPermanent(err) {
		t.Error("it is reported as a temporary fault")
	}
}

func TestSessionPoolerWorks(t *testing.T) {
	t.Parallel()
	pooler := postgrestest.StartPooler(t, postgrestest.Start(t), "session")
	s := open(t, pooler.URL("postgres"))
	changes := watch(t, s)
	added(t, s, "ses-a")
	changes.waitForChange(t)
	<-time.After(6 * time.Second) // a verification, and the time for its answer
	if why := s.NotificationFault(); why != "" {
		t.Errorf("notifications do not arrive: %s", why)
	}
}

// Without prepared statements a transaction pooler works, with polling instead of notifications.
func TestTransactionPoolerWithoutPreparedStatementsPolls(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"simple_protocol", "exec"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server := postgrestest.Start(t)
			pooler := postgrestest.StartPooler(t, server, "transaction")
			pooled := pooler.URL("postgres") + "&default_query_exec_mode=" + mode
			s := open(t, pooled)
			if err := s.Prepare(t.Context()); err != nil {
				t.Errorf("a second time: %v", err)
			}
			changes := watch(t, s)
			for deadline := time.Now().Add(20 * time.Second); s.NotificationFault() == ""; <-time.After(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("missing notifications are not detected")
				}
			}
			if why := s.NotificationFault(); !strings.Contains(why, "transaction pooler") {
				t.Errorf("got %q, want the pooler named", why)
			}
			<-changes.missed // from now on changes are found one by one
			other := open(t, server.URL("postgres"))
			made := added(t, other, "ses-a")
			changes.waitForChange(t)
			changed, err := other.Update(t.Context(), made, session.Unlimited)
			if err != nil {
				t.Fatal(err)
			}
			changes.waitForChange(t)
			if err := other.Delete(t.Context(), "ses-a", changed.Revision); err != nil {
				t.Fatal(err)
			}
			changes.waitForChange(t)
			select {
			case id := <-changes.changed:
				t.Errorf("session %s is reported as changed again", id)
			case <-time.After(1500 * time.Millisecond):
			}
		})
	}
}

func TestStoreSuiteBehindTransactionPooler(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	pooler := postgrestest.StartPooler(t, server, "transaction")
	storetest.Run(t, func(t *testing.T) session.Store {
		name := strings.ToLower("t" + string(session.NewID())[4:])
		server.Run("createdb", name)
		return open(t, pooler.URL(name)+"&default_query_exec_mode=simple_protocol")
	})
}

// changes are the notifications of a store.
type changes struct {
	missed  chan struct{}
	changed chan session.ID
}

// watch returns when the store listens.
func watch(t *testing.T, s *postgres.Store) changes {
	t.Helper()
	c := changes{make(chan struct{}, 1000), make(chan session.ID, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Watch(ctx, func() { c.missed <- struct{}{} }, func(id session.ID) { c.changed <- id })
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-c.missed
	return c
}

// waitForChange waits for a change of ses-a.
func (c changes) waitForChange(t *testing.T) {
	t.Helper()
	const id session.ID = "ses-a"
	select {
	case got := <-c.changed:
		if got != id {
			t.Errorf("session %s is reported as changed, want %s", got, id)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("a change of %s is not reported", id)
	}
}

func added(t *testing.T, s *postgres.Store, id session.ID) session.Session {
	t.Helper()
	return create(t, s, stopped(id))
}
