package contract_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"berth/test/harness"
)

// fileEnv is a Berth that serves sessions of the small test server.
func fileEnv(t *testing.T, env map[string]string) *harness.Env {
	t.Helper()
	w := harness.NewStub(t)
	for name, value := range env {
		w.Vars[name] = value
	}
	w.StartServe()
	return w
}

// member is what stands at a path like "a.b" in a JSON object, of the type that the test wants.
func member[T any](t *testing.T, a harness.Answer, path string) T {
	t.Helper()
	var at any
	if err := json.Unmarshal(a.Body, &at); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	for name := range strings.SplitSeq(path, ".") {
		members, _ := at.(map[string]any)
		at = members[name]
	}
	found, ok := at.(T)
	if !ok {
		t.Errorf("%s: got %v (%T), want %T in %s", path, at, at, found, a)
	}
	return found
}

func health(t *testing.T, w *harness.Env) harness.Answer {
	t.Helper()
	a := w.Call(http.MethodGet, "/health", w.AdminToken(), "")
	if a.Status != http.StatusOK {
		t.Fatalf("GET /health: got %s", a)
	}
	return a
}

func healthShowsStorage(t *testing.T) {
	w := fileEnv(t, nil)
	a := health(t, w)
	if status, backend := member[string](t, a, "status"), member[string](t, a, "storage_backend"); status != "healthy" || backend != "json" {
		t.Errorf("got %s and %s, want healthy and json", status, backend)
	}
	if unauthenticated := w.Call(http.MethodGet, "/health", "", ""); strings.TrimSpace(string(unauthenticated.Body)) != `{"status":"healthy"}` {
		t.Errorf("an unauthenticated client sees %s, want the status only", unauthenticated)
	}
	db := databaseFileEnv(t)
	db.Create("{}")
	a = health(t, db.Env)
	size := member[string](t, a, "database.database_size")
	if backend, status := member[string](t, a, "storage_backend"), member[string](t, a, "database.status"); backend != "database" || status != "healthy" {
		t.Errorf("got %s and %s, want database and healthy", backend, status)
	}
	if total, active := member[float64](t, a, "database.total_sessions"), member[float64](t, a, "database.active_sessions"); total != 1 || active != 1 {
		t.Errorf("got %v sessions, %v active, want one of each", total, active)
	}
	if !regexp.MustCompile(`^\d+ (kB|MB)$`).MatchString(size) {
		t.Errorf("database_size: got %q, want it as in 25 MB", size)
	}
}

func healthShowsContainers(t *testing.T) {
	w := fileEnv(t, map[string]string{"CONTAINER_HEALTH_CHECK_INTERVAL": "1"})
	id, _ := w.Create("{}")
	harness.Eventually(t, 15*time.Second, "the session was looked at", func() error {
		a := health(t, w)
		var h struct {
			Health map[string]json.RawMessage `json:"container_health"`
		}
		if err := json.Unmarshal(a.Body, &h); err != nil {
			return err
		}
		var one struct {
			Total   int     `json:"total_checks"`
			Healthy int     `json:"healthy_checks"`
			Failed  *int    `json:"failed_checks"`
			Average float64 `json:"average_response_time"`
		}
		if err := json.Unmarshal(h.Health["session_"+id], &one); err != nil {
			return err
		}
		if one.Total == 0 || one.Healthy == 0 || one.Failed == nil || one.Average <= 0 {
			return errorf("got %+v", one)
		}
		return nil
	})
	a := health(t, w)
	if !member[bool](t, a, "container_health.monitoring_active") || member[float64](t, a, "container_health.check_interval") != 1 ||
		member[float64](t, a, "container_health.total_sessions_monitored") != 1 || member[float64](t, a, "container_health.sessions_with_failures") != 0 {
		t.Errorf("got %s", a)
	}
}

func healthCountsTokens(t *testing.T) {
	w := fileEnv(t, nil)
	w.Create("{}")
	w.Create("{}")
	if got := member[float64](t, health(t, w), "authenticated_sessions"); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
}

func tokensAreManaged(t *testing.T) {
	w := fileEnv(t, nil)
	admin := w.AdminToken()
	id, token := w.Create("{}")
	path := "/sessions/" + id + "/auth"
	if a := w.Call(http.MethodGet, path, token, ""); a.Status != http.StatusOK || !member[bool](t, a, "valid") || a.Field("token_expires_at") == "" {
		t.Errorf("GET auth: got %s", a)
	}
	listed := w.Call(http.MethodGet, "/auth/sessions", admin, "")
	if !strings.Contains(string(listed.Body), id) {
		t.Errorf("GET /auth/sessions: got %s, want %s in it", listed, id)
	}
	if a := w.Call(http.MethodGet, "/auth/sessions", token, ""); a.Status != http.StatusUnauthorized {
		t.Errorf("GET /auth/sessions by a user: got %s, want 401", a)
	}
	rotated := w.Call(http.MethodPost, path+"/rotate", token, "")
	fresh := rotated.Field("token")
	if rotated.Status != http.StatusOK || fresh == "" || fresh == token {
		t.Fatalf("rotate: got %s, want a new token", rotated)
	}
	for shown, want := range map[string]int{token: http.StatusUnauthorized, fresh: http.StatusOK} {
		if a := w.Call(http.MethodGet, "/s/"+id+"/session", shown, ""); a.Status != want {
			t.Errorf("with the old or the new token: got %s, want %d", a, want)
		}
	}
}

func healthShowsThePool(t *testing.T) {
	w := fileEnv(t, map[string]string{"HTTP_MAX_CONNECTIONS": "77"})
	a := health(t, w)
	if got := member[string](t, a, "http_connection_pool.status"); got != "healthy" {
		t.Errorf("got %s, want healthy", got)
	}
	for name, want := range map[string]float64{"max_keepalive_connections": 20, "max_connections": 77, "keepalive_expiry": 300, "connect_timeout": 10, "read_timeout": 30} {
		if got := member[float64](t, a, "http_connection_pool.config."+name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func healthShowsResources(t *testing.T) {
	w := fileEnv(t, map[string]string{"CONTAINER_MEMORY_LIMIT": "1g", "CONTAINER_CPU_QUOTA": "50000", "MAX_CONCURRENT_SESSIONS": "7"})
	a := health(t, w)
	memory, quota, most := member[string](t, a, "resource_limits.memory_limit"), member[float64](t, a, "resource_limits.cpu_quota"),
		member[float64](t, a, "resource_limits.max_concurrent_sessions")
	if memory != "1g" || quota != 50000 || most != 7 {
		t.Errorf("got %s, %v and %v; want 1g, 50000 and 7", memory, quota, most)
	}
	harness.Eventually(t, 20*time.Second, "the host was measured", func() error {
		if a = health(t, w); !strings.Contains(string(a.Body), "memory_percent") {
			return errorf("got %s", a)
		}
		return nil
	})
	for _, name := range []string{"memory_percent", "cpu_percent"} {
		if fraction := member[float64](t, a, "system_resources."+name); fraction < 0 || fraction > 1 {
			t.Errorf("%s: got %v, want a fraction", name, fraction)
		}
	}
	member[[]any](t, a, "resource_alerts")
}

// The host's own memory is measured; the thresholds are put below what any host has in use.
func busyHostIsSparedSessions(t *testing.T) {
	for level, env := range map[string]map[string]string{
		"warning":  {"MEMORY_WARNING_THRESHOLD": "0.001"},
		"critical": {"MEMORY_WARNING_THRESHOLD": "0.001", "RESOURCE_CRITICAL_THRESHOLD": "0.002", "CPU_WARNING_THRESHOLD": "0.001"},
	} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			w := fileEnv(t, env)
			harness.Eventually(t, 30*time.Second, "the alert is there", func() error {
				if a := health(t, w); !strings.Contains(string(a.Body), `"level":"`+level+`"`) {
					return errorf("got %s", a)
				}
				return nil
			})
			a := w.Call(http.MethodPost, "/sessions", w.AdminToken(), "{}")
			if level == "warning" && a.Status != http.StatusCreated {
				t.Errorf("create: got %s, want 201 while it is no more than a warning", a)
			}
			if level == "critical" && (a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !strings.Contains(string(a.Body), "critical from")) {
				t.Errorf("create: got %s, want 503 with the reason and Retry-After", a)
			}
		})
	}
}

func containersHaveAHealth(t *testing.T) {
	w := fileEnv(t, map[string]string{"CONTAINER_HEALTH_CHECK_INTERVAL": "1"})
	id, token := w.Create("{}")
	harness.Eventually(t, 15*time.Second, "the session is healthy", func() error {
		a := w.Call(http.MethodGet, "/health/container/"+id, token, "")
		if a.Status != http.StatusOK || a.Field("state") != "HEALTHY" {
			return errorf("got %s", a)
		}
		return nil
	})
	all := w.Call(http.MethodGet, "/health/container", w.AdminToken(), "")
	if got := member[float64](t, all, "total_sessions_monitored"); got != 1 {
		t.Errorf("got %v sessions, want one", got)
	}
	if a := w.Call(http.MethodGet, "/health/container/ses-unknown", w.AdminToken(), ""); a.Status != http.StatusNotFound {
		t.Errorf("of a session that is not there: got %s, want 404", a)
	}
}

func sessionsHaveALife(t *testing.T) {
	w := fileEnv(t, nil)
	admin := w.AdminToken()
	id, token := w.Create(`{"owner":"alice"}`)
	path := "/sessions/" + id
	var list struct {
		Sessions []struct {
			ID     string `json:"session_id"`
			Owner  string `json:"owner"`
			Status string `json:"status"`
		} `json:"sessions"`
	}
	harness.Must(t, json.Unmarshal(w.Call(http.MethodGet, "/sessions", admin, "").Body, &list))
	if len(list.Sessions) != 1 || list.Sessions[0].ID != id || list.Sessions[0].Owner != "alice" || list.Sessions[0].Status != "running" {
		t.Errorf("the list: got %+v, want alice's session, running", list)
	}
	for _, step := range []struct{ action, status string }{{"stop", "stopped"}, {"start", "running"}, {"restart", "running"}} {
		if a := w.Call(http.MethodPost, path+"/"+step.action, admin, ""); a.Status != http.StatusOK || a.Field("status") != step.status {
			t.Errorf("%s: got %s, want %s", step.action, a, step.status)
		}
		if a := w.Call(http.MethodGet, path, token, ""); a.Field("status") != step.status {
			t.Errorf("show after %s: got %s", step.action, a)
		}
	}
	if a := w.Call(http.MethodDelete, path, admin, ""); a.Status != http.StatusNoContent {
		t.Errorf("delete: got %s", a)
	}
	if a := w.Call(http.MethodGet, path, admin, ""); a.Status != http.StatusNotFound {
		t.Errorf("show after the delete: got %s, want 404", a)
	}
	if left := w.Containers(); len(left) != 0 {
		t.Errorf("containers that are left: %v", left)
	}
}

// The stub admits only requests with its own credential, which no client gets.
func credentialIsOurs(t *testing.T) {
	w := fileEnv(t, nil)
	id, token := w.Create("{}")
	if a := w.Call(http.MethodGet, "/s/"+id+"/session", token, ""); a.Status != http.StatusOK {
		t.Errorf("with the session's token: got %s, want what the server answers", a)
	}
	echo := w.Call(http.MethodGet, "/s/"+id+"/echo", token, "")
	sent := member[[]any](t, echo, "header.Authorization")
	if text, _ := sent[0].(string); len(sent) != 1 || !strings.HasPrefix(text, "Basic ") || strings.Contains(string(echo.Body), token) {
		t.Errorf("the server got %v, want Berth's credential and nothing of the client's: %s", sent, echo)
	}
	if a := w.Call(http.MethodGet, "/s/"+id+"/session", "", ""); a.Status != http.StatusUnauthorized {
		t.Errorf("without a token: got %s, want 401", a)
	}
}

func connectionsAreReused(t *testing.T) {
	w := fileEnv(t, nil)
	id, token := w.Create("{}")
	for range 200 {
		if a := w.Call(http.MethodGet, "/s/"+id+"/session", token, ""); a.Status != http.StatusOK {
			t.Fatalf("got %s", a)
		}
	}
	metrics := string(w.Call(http.MethodGet, "/metrics", w.AdminToken(), "").Body)
	if !strings.Contains(metrics, "\nberth_proxy_connections_made_total 1\n") {
		t.Errorf("200 requests one after the other: want one connection to the server, got\n%s", metrics)
	}
}
