package database_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/test/harness"
)

// Stops and deletes that one instance makes without the database are kept, although another one has half of the sessions,
// with or without the database.
func TestOfflineStopsAndDeletesAreNotUndoneByOtherInstance(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]bool{"both have lost it": true, "one has lost it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			w.Vars["CONTAINER_RESTART_DELAY"] = "1"
			relay := newRelay(t, w.db.Address())
			second := w.Sibling("second")
			w.Vars["DATABASE_URL"] = strings.Replace(w.Vars["DATABASE_URL"], w.db.Address(), relay.address, 1)
			w.StartServe()
			second.StartServe()
			var stopped, deleted []string
			for range 4 {
				id, _ := w.Create("")
				stopped = append(stopped, id)
				id, token := w.Create("")
				harness.Eventually(t, 5*time.Second, "the other instance serves it", func() error { return serves(t, second, id, token, http.StatusOK) })
				deleted = append(deleted, id)
			}
			relay.cut.Store(true)
			if both {
				w.db.Stop()
				degraded(t, second)
			}
			degraded(t, w.Env)
			for i := range stopped {
				w.act(t, http.MethodPost, "/sessions/"+stopped[i]+"/stop", http.StatusOK)
				w.act(t, http.MethodDelete, "/sessions/"+deleted[i], http.StatusNoContent)
			}
			for until := time.Now().Add(15 * time.Second); time.Now().Before(until); pause(t.Context(), time.Second) {
				if all := w.Containers(); len(all) != len(stopped) {
					t.Fatalf("without the database: got %d containers, want those of the %d stopped sessions", len(all), len(stopped))
				}
			}
			relay.cut.Store(false)
			if both {
				w.db.Start()
			}
			healthy(t, w.Env)
			healthy(t, second)
			pause(t.Context(), 8*time.Second) // operations that use the earlier state have ended by then
			all := w.isConsistent(t, second)
			for _, id := range stopped {
				if all[id].Status != "stopped" {
					t.Errorf("a session that was stopped without the database is %+v", all[id])
				}
			}
			if len(all) != len(stopped) {
				t.Errorf("got %d sessions, want the %d stopped ones", len(all), len(stopped))
			}
			volumes, err := dockertest.Client(t).VolumeList(t.Context(), client.VolumeListOptions{Filters: w.Mine()})
			harness.Must(t, err)
			for _, v := range volumes.Items {
				if slices.Contains(deleted, v.Labels["berth.session"]) {
					t.Errorf("a volume of a deleted session is there: %s", v.Name)
				}
			}
		})
	}
}

// One create that was sent to two instances without the database results in one session: the other container is removed, and
// only the token of the recorded session is valid, on every instance.
func TestSessionCreatedByTwoInstancesIsMerged(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	both := []*harness.Env{w.Env, second}
	w.db.Stop()
	degraded(t, w.Env)
	degraded(t, second)
	var id string
	var tokens [2]string
	for i, on := range both {
		a := on.CallWith(http.MethodPost, "/sessions", w.AdminToken(), "", http.Header{"Idempotency-Key": {"once"}})
		if a.Status != http.StatusCreated {
			t.Fatalf("create: %s", a)
		}
		id, tokens[i] = a.Field("session_id"), a.Field("token")
	}
	w.db.Start()
	healthy(t, w.Env)
	healthy(t, second)
	w.isConsistent(t, w.Env)
	harness.Eventually(t, 10*time.Second, "one token is valid on every instance, the other on none", func() error {
		var good []int
		for _, on := range both {
			for i, token := range tokens {
				if serves(t, on, id, token, http.StatusOK) == nil {
					good = append(good, i)
				} else if err := serves(t, on, id, token, http.StatusUnauthorized); err != nil {
					return err
				}
			}
		}
		if len(good) != 2 || good[0] != good[1] {
			return fmt.Errorf("the valid tokens are %v", good)
		}
		return nil
	})
}
