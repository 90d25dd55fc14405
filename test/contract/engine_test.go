package contract_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"berth/test/harness"
)

// Four sessions are made and removed at once, while every call that changes something takes the engine a while.
func operationsTakeTurns(t *testing.T) {
	for async, right := range map[string]func(most int) bool{
		"true":  func(most int) bool { return most > 1 },
		"false": func(most int) bool { return most == 1 },
	} {
		w := harness.NewStub(t)
		relay := w.NewRelay()
		relay.Hold(100 * time.Millisecond)
		w.Vars["USE_ASYNC_DOCKER"] = async
		w.Vars["DOCKER_MAX_OPERATIONS"] = "4" // independent of the engine's CPUs
		w.StartServe()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				made, err := w.Try(t.Context(), http.MethodPost, "/sessions", w.AdminToken(), "")
				if err != nil || made.Status != http.StatusCreated {
					t.Errorf("USE_ASYNC_DOCKER=%s: create: got %s, %v", async, made, err)
					return
				}
				gone, err := w.Try(t.Context(), http.MethodDelete, "/sessions/"+made.Field("session_id"), w.AdminToken(), "")
				if err != nil || gone.Status != http.StatusNoContent {
					t.Errorf("USE_ASYNC_DOCKER=%s: delete: got %s, %v", async, gone, err)
				}
			})
		}
		wg.Wait()
		if most := relay.Most(); !right(most) {
			t.Errorf("USE_ASYNC_DOCKER=%s: up to %d of %d changing calls at once", async, most, len(relay.Calls()))
		}
	}
}
