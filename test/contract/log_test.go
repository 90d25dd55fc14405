package contract_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"berth/test/harness"
)

// linesOf reads a log; those that are no JSON are lost to the test, which says so.
func linesOf(t *testing.T, file string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	harness.Must(t, err)
	var all []map[string]any
	for line := range strings.Lines(string(text)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("%v in the line %q", err, line)
		}
		all = append(all, fields)
	}
	return all
}

// The fields are those of the document's sample, and each has the form that it has there.
func linesAreJSON(t *testing.T) {
	w := fileEnv(t, nil)
	a := w.CallWith(http.MethodPost, "/sessions", w.AdminToken(), "{}", http.Header{"X-Request-Id": {"req-abc123"}})
	if a.Header.Get("X-Request-Id") != "req-abc123" {
		t.Errorf("the request's id came back as %q", a.Header.Get("X-Request-Id"))
	}
	created := slices.IndexFunc(linesOf(t, w.Serve.Log), func(l map[string]any) bool {
		return l["operation"] == "create" && l["session_id"] != nil
	})
	if created < 0 {
		t.Fatal("no line reports the create and its duration")
	}
	line := linesOf(t, w.Serve.Log)[created]
	for field, form := range map[string]string{
		"timestamp": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, "level": `^INFO$`, "logger": `^berth(\.[a-z]+)*$`, "message": `^operation done$`,
		"request_id": `^req-abc123$`, "session_id": "^" + a.Field("session_id") + "$", "operation": "^create$",
	} {
		if text, _ := line[field].(string); !regexp.MustCompile(form).MatchString(text) {
			t.Errorf("%s: got %v, want it like %s", field, line[field], form)
		}
	}
	if took, _ := line["duration_ms"].(float64); took <= 0 {
		t.Errorf("duration_ms: got %v, want a number above 0", line["duration_ms"])
	}
}

func linesAreForPeople(t *testing.T) {
	w := fileEnv(t, map[string]string{"LOG_FORMAT": "human"})
	w.CallWith(http.MethodPost, "/sessions", w.AdminToken(), "{}", http.Header{"X-Request-Id": {"req-abc123"}})
	text, err := os.ReadFile(w.Serve.Log)
	harness.Must(t, err)
	form := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[INFO \] berth\.session:create:\d+ \[req-abc123\] - operation done( |$)`)
	if !form.Match(text) {
		t.Errorf("no line has the form %s\n%s", form, text)
	}
}

// A request's ID is in all logs and at the session's server, and the file is rotated meanwhile.
func requestsAreFollowed(t *testing.T) {
	dir := t.TempDir()
	w := fileEnv(t, map[string]string{
		"LOG_FILE_ENABLED": "true", "LOG_FILE": filepath.Join(dir, "berth.log"), "LOG_MAX_SIZE_MB": "1", "LOG_BACKUP_COUNT": "2",
	})
	admin := w.AdminToken()
	const id = "req-followed"
	a := w.CallWith(http.MethodPost, "/sessions", admin, "{}", http.Header{"X-Request-Id": {id}})
	session, token := a.Field("session_id"), a.Field("token")
	loggers := map[any]bool{}
	for _, line := range linesOf(t, filepath.Join(dir, "berth.log")) {
		if line["request_id"] == id {
			loggers[line["logger"]] = true
		}
	}
	for _, want := range []string{"berth.httpapi", "berth.session", "berth.docker"} {
		if !loggers[want] {
			t.Errorf("no line of %s bears the request's id: got %v", want, loggers)
		}
	}
	echo := w.CallWith(http.MethodGet, "/s/"+session+"/echo", token, "", http.Header{"X-Request-Id": {id}})
	if !strings.Contains(string(echo.Body), id) {
		t.Errorf("the session's server got %s, want the request's id in it", echo)
	}
	for range 12_000 { // a line of about 300 bytes each
		if a := w.Call(http.MethodGet, "/s/"+session+"/session", token, ""); a.Status != http.StatusOK {
			t.Fatalf("got %s", a)
		}
	}
	trail := linesOf(t, filepath.Join(dir, "berth-audit.log"))
	for _, want := range []string{"authenticate", "engine_create", "create"} {
		if !slices.ContainsFunc(trail, func(l map[string]any) bool {
			return l["operation"] == want && l["request_id"] == id && l["actor"] == "operator" && l["outcome"] == "ok" && l["remote"] != nil
		}) {
			t.Errorf("the audit trail has no record of the operator's %s", want)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "berth*.log"))
	harness.Must(t, err)
	rotated := slices.DeleteFunc(files, func(f string) bool { return strings.Contains(f, "audit") || strings.HasSuffix(f, "/berth.log") })
	if len(rotated) != 2 {
		t.Errorf("got the rotated files %v, want two", rotated)
	}
	for _, f := range rotated {
		if info, err := os.Stat(f); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: got %v, %v; want 1 MB at most", f, info, err)
		}
		linesOf(t, f) // no line is incomplete
	}
}
