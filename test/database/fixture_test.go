// Package database_test tests instances of the real binary that share a real PostgreSQL, with failures of both.
package database_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"berth/internal/postgrestest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, postgrestest.Clean)) }

// fixture is one database with instances of Berth on it.
type fixture struct {
	*harness.Env // the first instance
	db           *postgrestest.Server
}

// newFixture has a database of its own and settings for a first instance, which is not started yet.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := &fixture{Env: harness.NewStub(t), db: postgrestest.Start(t)}
	w.Vars["USE_DATABASE_STORAGE"] = "true"
	w.Vars["DATABASE_URL"] = w.db.URL("postgres")
	w.Vars["BERTH_ADMIN_TOKEN"] = "the-operator-of-this-test"
	w.Vars["LOG_LEVEL"] = "INFO"
	return w
}

// health is what the operator sees of the store.
type health struct {
	Status   string `json:"status"`
	Backend  string `json:"storage_backend"`
	Database struct {
		Status  string `json:"status"`
		Reason  string `json:"reason"`
		Pending int    `json:"pending_changes"`
		Total   int    `json:"total_sessions"`
		Active  int    `json:"active_sessions"`
		Size    string `json:"database_size"`
		Imports []struct {
			Total, Added, Known int
		} `json:"imports"`
	} `json:"database"`
	Instances []struct {
		ID    string `json:"id"`
		Alive bool   `json:"alive"`
		Self  bool   `json:"self"`
	} `json:"instances"`
}

func healthOf(ctx context.Context, w *harness.Env) (health, error) {
	var h health
	a, err := w.Try(ctx, http.MethodGet, "/health", w.AdminToken(), "")
	if err == nil {
		err = json.Unmarshal(a.Body, &h)
	}
	return h, err
}

// healthy waits until an instance uses its database, without pending changes.
func healthy(t *testing.T, w *harness.Env) health {
	t.Helper()
	var h health
	harness.Eventually(t, 30*time.Second, "the instance works with its database", func() (err error) {
		if h, err = healthOf(t.Context(), w); err == nil && (h.Status != "healthy" || h.Database.Status != "healthy" || h.Database.Pending > 0) {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
	return h
}

// degraded waits until an instance has detected that its database is unavailable.
func degraded(t *testing.T, w *harness.Env) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, "the instance reports that its database is unavailable", func() error {
		h, err := healthOf(t.Context(), w)
		if err == nil && (h.Status != "degraded" || h.Database.Status != "unavailable" || h.Database.Reason == "") {
			err = fmt.Errorf("%+v", h)
		}
		return err
	})
}

// isConsistent waits until the records of an instance and the containers on the engine are the same sessions, each once, all
// of them at rest.
func (w *fixture) isConsistent(t *testing.T, on *harness.Env) map[string]harness.Session {
	t.Helper()
	var all map[string]harness.Session
	harness.Eventually(t, 90*time.Second, "records and containers agree", func() (err error) {
		if all, err = on.Sessions(t.Context()); err != nil {
			return err
		}
		containers := map[string]string{}
		for _, c := range w.Containers() {
			id := c.Labels["berth.session"]
			if _, twice := containers[id]; twice {
				return fmt.Errorf("session %s has two containers", id)
			}
			containers[id] = string(c.State)
		}
		for id, s := range all {
			running := containers[id] == "running"
			if s.Operation != nil || (s.Status == "running") != running {
				return fmt.Errorf("session %+v has a container that is %q", s, containers[id])
			}
			delete(containers, id)
		}
		if len(containers) > 0 {
			return fmt.Errorf("containers without a session: %v", containers)
		}
		return nil
	})
	return all
}
