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

// The engine of these tests runs on this machine, where its volumes can be read.
func TestWorkspaceIsMeasuredWarnedOfAndStoppedAtItsLimit(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["RECONCILE_INTERVAL"] = "1"
	w.Vars["BERTH_WORKSPACE_WARN"], w.Vars["BERTH_WORKSPACE_LIMIT"] = "2m", "8m"
	w.StartServe()
	id, token := w.Create("")
	small, _ := w.Create("")
	become := func(what string, want func(s sized) bool) {
		t.Helper()
		harness.Eventually(t, 60*time.Second, what, func() error {
			s := w.sized(t, id)
			if !want(s) {
				return fmt.Errorf("got %+v", s)
			}
			return nil
		})
	}
	write := func(mb int) {
		t.Helper()
		if a := w.Call(http.MethodPost, fmt.Sprintf("/s/%s/write?mb=%d", id, mb), token, ""); a.Status != http.StatusOK {
			t.Fatalf("write %d MiB: %s", mb, a)
		}
	}
	write(4)
	become("a large workspace is warned of", func(s sized) bool {
		return s.Status == "running" && s.Workspace.Level == "warning" && s.Workspace.Bytes >= 4<<20 && s.Workspace.Bytes < 8<<20
	})
	write(9)
	become("one over the limit is stopped", func(s sized) bool {
		return s.Status == "stopped" && s.Reason == "size" && s.Workspace.Level == "limit"
	})
	if s := w.sized(t, small); s.Status != "running" || s.Workspace.Level != "ok" {
		t.Errorf("the other session: got %+v, want it running", s)
	}
	a := w.Call(http.MethodGet, "/metrics", w.AdminToken(), "")
	for _, line := range []string{`berth_workspaces_over{threshold="limit"} 1`, "berth_workspaces_measured 2"} {
		if !strings.Contains(string(a.Body), line) {
			t.Errorf("the metrics do not have %q", line)
		}
	}
	if strings.Contains(string(a.Body), strings.TrimPrefix(id, "ses-")) {
		t.Error("the metrics name a session")
	}
	if a := w.Call(http.MethodPost, "/sessions/"+id+"/start", w.AdminToken(), ""); a.Status != http.StatusOK {
		t.Errorf("start: %s, want 200: somebody has to be able to make room", a)
	}
}

type sized struct {
	Status    string `json:"status"`
	Reason    string `json:"stop_reason"`
	Workspace struct {
		Bytes int64  `json:"bytes"`
		Level string `json:"level"`
	} `json:"workspace"`
}

func (w *fixture) sized(t *testing.T, id string) (s sized) {
	t.Helper()
	a := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), "")
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &s) != nil {
		t.Fatalf("show %s: %s", id, a)
	}
	return s
}
