package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth/test/harness"
)

// A session that is not used for a minute is stopped. The next request wakes it with its workspace and state.
func TestIdleSessionIsStoppedAndWakesWithItsNextRequest(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["SESSION_IDLE_TIMEOUT_MINUTES"] = "1"
	w.StartServe()
	id, token := w.Create("")
	made := w.Call(http.MethodPost, "/s/"+id+"/session", token, "{}").Field("id")
	if a := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), ""); a.Field("kept_alive_by") != "activity" || a.Field("stops_at") == "" {
		t.Errorf("got %s, want it to say why it is up and until when", a)
	}
	harness.Eventually(t, 2*time.Minute, "the session is stopped", func() error {
		a, err := w.Try(t.Context(), http.MethodGet, "/sessions/"+id, w.AdminToken(), "")
		if err == nil && (a.Field("status") != "stopped" || a.Field("stop_reason") != "idle") {
			err = fmt.Errorf("%s", a)
		}
		return err
	})
	if a := w.Call(http.MethodGet, "/s/"+id+"/session", token, ""); a.Status != http.StatusOK || made == "" || !strings.Contains(string(a.Body), made) {
		t.Errorf("the request that wakes it: got %s, want its history with %s", a, made)
	}
}

// The profile's questions about work are ones that OpenCode answers as the profile expects.
func TestOpenCodeReportsBusy(t *testing.T) {
	t.Parallel()
	w := opencodeEnv(t)
	id, token := w.Create("")
	a := w.Call(http.MethodGet, "/s/"+id+"/session/status", token, "")
	var status map[string]map[string]any
	if err := json.Unmarshal(a.Body, &status); err != nil || a.Status != http.StatusOK || len(status) != 0 {
		t.Errorf("the status of no work: got %s (%v), want an empty object", a, err)
	}
	terminals := func() (list []struct{ ID, Status string }) {
		a := w.Call(http.MethodGet, "/s/"+id+"/pty", token, "")
		if err := json.Unmarshal(a.Body, &list); err != nil || a.Status != http.StatusOK {
			t.Fatalf("the terminals: got %s (%v), want an array", a, err)
		}
		return list
	}
	if list := terminals(); len(list) != 0 {
		t.Errorf("got the terminals %+v, want none", list)
	}
	if a := w.Call(http.MethodPost, "/s/"+id+"/pty", token, "{}"); a.Status != http.StatusOK {
		t.Fatalf("open a terminal: got %s", a)
	}
	if list := terminals(); len(list) != 1 || list[0].Status != "running" {
		t.Errorf("got the terminals %+v, want one that is running", list)
	}
}
