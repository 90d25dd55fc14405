package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/test/harness"
)

// monitoredEnv looks after its sessions every second.
func monitoredEnv(t *testing.T) *fixture {
	t.Helper()
	w := stubEnv(t)
	for name, value := range map[string]string{
		"CONTAINER_HEALTH_CHECK_INTERVAL": "1", "CONTAINER_HEALTH_TIMEOUT": "3", "CONTAINER_FAILURE_THRESHOLD": "2",
		"CONTAINER_RESTART_DELAY": "0.2", "LOG_LEVEL": "INFO",
	} {
		w.Vars[name] = value
	}
	w.StartServe()
	return w
}

// observedSession is what the operator sees of a session and its server.
type observedSession struct {
	Status    string  `json:"status"`
	LastError string  `json:"last_error"`
	Container string  `json:"container_name"`
	Restarts  int     `json:"restart_count"`
	State     string  `json:"state"`
	Reason    string  `json:"reason"`
	Total     int     `json:"total_checks"`
	Healthy   int     `json:"healthy_checks"`
	Average   float64 `json:"average_response_time"` // milliseconds
}

func (w *fixture) patient(t *testing.T, id string) observedSession {
	t.Helper()
	var p observedSession
	for _, path := range []string{"/sessions/" + id, "/health/container/" + id} {
		if a := w.Call(http.MethodGet, path, w.AdminToken(), ""); a.Status != http.StatusOK || json.Unmarshal(a.Body, &p) != nil {
			t.Fatalf("%s: got %s", path, a)
		}
	}
	return p
}

func (w *fixture) becomes(t *testing.T, id, what string, want func(observedSession) bool) observedSession {
	t.Helper()
	var p observedSession
	harness.Eventually(t, 60*time.Second, what, func() error {
		if p = w.patient(t, id); !want(p) {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	return p
}

func restartedOnce(p observedSession) bool {
	return p.Status == "running" && p.Restarts == 1 && p.State == "HEALTHY" && p.LastError == ""
}

// A server that ends or fails in any way is restarted, with workspace, token and history.
func TestServersThatFailAreHealed(t *testing.T) {
	t.Parallel()
	w := monitoredEnv(t)
	engine := dockertest.Client(t)
	ask := func(path string) func(*testing.T, string, string, observedSession) {
		return func(t *testing.T, id, token string, _ observedSession) {
			t.Helper()
			_, _ = w.Try(t.Context(), http.MethodPost, "/s/"+id+path, token, "") // may end before it has answered
		}
	}
	for name, test := range map[string]struct {
		harm   func(t *testing.T, id, token string, p observedSession)
		reason string
	}{
		"ends by itself": {ask("/exit?code=7"), "ended by itself with code 7"},
		"out of memory":  {ask("/allocate?mb=2000"), "ran out of memory"},
		"wedged":         {ask("/behave?as=wedged"), "hangs"},
		"never answers":  {ask("/behave?as=mute"), "does not answer"},
		"wrong status":   {ask("/behave?as=broken"), "does not answer"},
		"removed behind our back": {func(t *testing.T, _, _ string, p observedSession) {
			t.Helper()
			_, err := engine.ContainerRemove(t.Context(), p.Container, client.ContainerRemoveOptions{Force: true})
			harness.Must(t, err)
		}, "removed through the engine's API"},
		"stopped behind our back": {func(t *testing.T, _, _ string, p observedSession) {
			t.Helper()
			_, err := engine.ContainerStop(t.Context(), p.Container, client.ContainerStopOptions{})
			harness.Must(t, err)
		}, "stopped through the engine's API"},
		"killed behind our back": {func(t *testing.T, _, _ string, p observedSession) {
			t.Helper()
			_, err := engine.ContainerKill(t.Context(), p.Container, client.ContainerKillOptions{Signal: "KILL"})
			harness.Must(t, err)
		}, "stopped through the engine's API"},
		"renamed": {func(t *testing.T, _, _ string, p observedSession) {
			t.Helper()
			_, err := engine.ContainerRename(t.Context(), p.Container, client.ContainerRenameOptions{NewName: p.Container + "-renamed"})
			harness.Must(t, err)
		}, "the container does not exist any more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := fixture{w.In(t)}
			id, token := w.Create("")
			made := w.Call(http.MethodPost, "/s/"+id+"/session", token, "{}").Field("id")
			before := w.becomes(t, id, "healthy", func(p observedSession) bool { return p.State == "HEALTHY" && p.Status == "running" })
			test.harm(t, id, token, before)
			w.becomes(t, id, "healed", restartedOnce)
			a := w.Call(http.MethodGet, "/s/"+id+"/session", token, "")
			if a.Status != http.StatusOK || made == "" || !strings.Contains(string(a.Body), made) {
				t.Errorf("the history after the restart: got %s, want the session %s with the same token", a, made)
			}
			if a := w.Call(http.MethodGet, "/sessions/"+id+"/events", token, ""); strings.Count(string(a.Body), `"unhealthy"`) != 1 ||
				strings.Count(string(a.Body), `"restarted"`) != 1 || strings.Contains(string(a.Body), "start the session") {
				t.Errorf("the events are %s, want them to tell of the restart once, and nobody to start what is restarted", a)
			}
			log, err := os.ReadFile(w.Serve.Log)
			harness.Must(t, err)
			if !slices.ContainsFunc(strings.Split(test.reason, "|"), func(reason string) bool {
				return logged(string(log), "session is being restarted", id, reason)
			}) {
				t.Errorf("the log does not say that %s was restarted because %q, but:\n%s", id, test.reason, grep(string(log), id, `"berth.session"`))
			}
		})
	}
}

// grep returns the lines of the log that have all these words.
func grep(log string, words ...string) string {
	var found strings.Builder
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			found.WriteString(line)
		}
	}
	return found.String()
}

// logged reports whether a line of the log has all these words.
func logged(log string, words ...string) bool { return grep(log, words...) != "" }

func TestCrashLoopUsesUpBudget(t *testing.T) {
	t.Parallel()
	w := monitoredEnv(t)
	id, token := w.Create("")
	_, _ = w.Try(t.Context(), http.MethodPost, "/s/"+id+"/behave?as=loop", token, "")
	metrics := func() string { return string(w.Call(http.MethodGet, "/metrics", w.AdminToken(), "").Body) }
	p := w.becomes(t, id, "given up", func(p observedSession) bool { return p.State == "FAILED" && strings.Contains(p.LastError, "given up") })
	for _, want := range []string{
		`berth_sessions_by_health{state="FAILED"} 1`, `berth_session_incidents_total{cause="exited",event="unhealthy"} 1`,
		`berth_session_incidents_total{cause="start_failed",event="failed"} 1`,
	} {
		if got := metrics(); !strings.Contains(got, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if p.Status != "error" || p.Restarts != 3 || !strings.Contains(p.LastError, "exited with code 3") {
		t.Errorf("got %+v", p)
	}
}

func TestPausedContainerIsReportedAndLeftAlone(t *testing.T) {
	t.Parallel()
	w := monitoredEnv(t)
	engine := dockertest.Client(t)
	id, _ := w.Create("")
	p := w.becomes(t, id, "healthy", func(p observedSession) bool { return p.State == "HEALTHY" })
	_, err := engine.ContainerPause(t.Context(), p.Container, client.ContainerPauseOptions{})
	harness.Must(t, err)
	w.becomes(t, id, "reported", func(p observedSession) bool {
		return p.State == "UNHEALTHY" && strings.Contains(p.Reason, "paused") && p.Total > 4
	})
	_, err = engine.ContainerUnpause(t.Context(), p.Container, client.ContainerUnpauseOptions{})
	harness.Must(t, err)
	if p := w.becomes(t, id, "healthy again", func(p observedSession) bool { return p.State == "HEALTHY" }); p.Restarts != 0 || p.Status != "running" {
		t.Errorf("got %+v, want no restart", p)
	}
}

func TestSlowServerIsMeasuredAndLeftAlone(t *testing.T) {
	t.Parallel()
	w := monitoredEnv(t)
	id, token := w.Create("")
	before := w.becomes(t, id, "healthy", func(p observedSession) bool { return p.State == "HEALTHY" })
	w.Call(http.MethodPost, "/s/"+id+"/behave?as=slow", token, "")
	p := w.becomes(t, id, "measured", func(p observedSession) bool { return p.Healthy >= before.Healthy+4 })
	if p.State != "HEALTHY" || p.Restarts != 0 || p.Container != before.Container || p.Average < 300 {
		t.Errorf("got %+v after %+v, want it healthy, not restarted, and seen to be slow", p, before)
	}
}

// While the engine cannot be reached no session is restarted.
func TestEngineOutageEndsNoSession(t *testing.T) {
	t.Parallel()
	w := monitoredEnv(t)
	well, wellToken := w.Create("")
	ill, illToken := w.Create("")
	for _, id := range []string{well, ill} {
		w.becomes(t, id, "healthy", func(p observedSession) bool { return p.State == "HEALTHY" })
	}
	w.Guard.Signal(syscall.SIGKILL)
	w.Call(http.MethodPost, "/s/"+ill+"/behave?as=mute", illToken, "")
	w.becomes(t, ill, "unknown", func(p observedSession) bool {
		return p.State == "UNKNOWN" && strings.Contains(p.Reason, "engine") && p.Total > 4
	})
	for _, id := range []string{well, ill} {
		if p := w.patient(t, id); p.Status != "running" || p.Restarts != 0 {
			t.Errorf("while the engine is unavailable, a session is %+v", p)
		}
	}
	if a := w.Call(http.MethodGet, "/s/"+well+"/global/health", wellToken, ""); a.Status != http.StatusOK {
		t.Errorf("a session while the engine is unavailable: got %s", a)
	}
	w.StartGuard()
	w.becomes(t, ill, "healed when the engine is back", restartedOnce)
	if p := w.patient(t, well); p.Restarts != 0 {
		t.Errorf("a session that was well is %+v", p)
	}
}

// What the source document shows of container health.
func TestContainerHealthHasTheDocumentsFields(t *testing.T) {
	t.Parallel()
	w := monitoredEnv(t)
	id, _ := w.Create("")
	w.becomes(t, id, "looked at", func(p observedSession) bool { return p.Healthy > 2 })
	var health struct {
		Containers map[string]json.RawMessage `json:"container_health"`
	}
	harness.Must(t, json.Unmarshal(w.Call(http.MethodGet, "/health", w.AdminToken(), "").Body, &health))
	var direct map[string]json.RawMessage
	harness.Must(t, json.Unmarshal(w.Call(http.MethodGet, "/health/container", w.AdminToken(), "").Body, &direct))
	for _, got := range []map[string]json.RawMessage{health.Containers, direct} {
		for name, want := range map[string]string{
			"monitoring_active": "true", "check_interval": "1", "total_sessions_monitored": "1", "sessions_with_failures": "0",
		} {
			if string(got[name]) != want {
				t.Errorf("%s is %s, want %s", name, got[name], want)
			}
		}
		var checks struct {
			Total, Healthy, Failed *int
			Average                *float64
		}
		var fields map[string]json.RawMessage
		harness.Must(t, json.Unmarshal(got["session_"+id], &fields))
		for name, field := range map[string]any{
			"total_checks": &checks.Total, "healthy_checks": &checks.Healthy, "failed_checks": &checks.Failed, "average_response_time": &checks.Average,
		} {
			harness.Must(t, json.Unmarshal(fields[name], field))
		}
		if *checks.Total < 3 || *checks.Healthy < 3 || *checks.Failed != 0 || *checks.Average <= 0 {
			t.Errorf("got %s", got["session_"+id])
		}
	}
	unauthenticated := w.Call(http.MethodGet, "/health/container", "", "")
	if body := strings.TrimSpace(string(unauthenticated.Body)); body != `{"status":"healthy"}` {
		t.Errorf("an unauthenticated client sees %s, want the status only", body)
	}
}
