package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

// A session may reach less than its profile allows, and never more.
func TestSessionAsksForLess(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	id, _ := w.Create(`{"egress_allow":["pypi.org:443"],"memory":"256m","env":{"GREETING":"hello"}}`)
	got := w.inspect(t, id)
	if env := strings.Join(got.Config.Env, "\n"); !strings.Contains(env, "GREETING=hello") || !strings.Contains(env, "HTTPS_PROXY=") {
		t.Errorf("the environment of a session with a list: %q", env)
	}
	if got.HostConfig.Memory != 256<<20 {
		t.Errorf("its memory limit is %d", got.HostConfig.Memory)
	}
	if shown := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), ""); !strings.Contains(string(shown.Body), "GREETING") || strings.Contains(string(shown.Body), "hello") {
		t.Errorf("shown: %s, want the variable's name and not its value", shown)
	}
	none, _ := w.Create(`{"egress":"none"}`)
	if env := strings.Join(w.inspect(t, none).Config.Env, "\n"); strings.Contains(env, "HTTPS_PROXY=") || !strings.Contains(env, "BERTH_GATEWAY=") {
		t.Errorf("the environment of a session without egress: %q, want the gateway and no proxy", env)
	}
	for _, more := range []string{
		`{"egress":"open"}`, `{"egress_allow":["example.com:443"]}`, `{"egress_allow":["pypi.org:22"]}`, `{"egress_allow":["forges"]}`, `{"memory":"64g"}`,
		`{"env":{"LD_PRELOAD":"/x"}}`, `{"env":{"BERTH_GATEWAY":"http://x"}}`,
	} {
		if a := w.Call(http.MethodPost, "/sessions", w.AdminToken(), more); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("create %s: %s, want 422", more, a)
		}
	}
}
