package docker_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"berth/internal/session"

	"github.com/google/go-cmp/cmp"
)

func TestWatchReportsEventsUntilTheStreamBreaks(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.on("GET /events", func(w http.ResponseWriter, r *http.Request) {
		want := `{"label":{"berth.instance=unit":true},"type":{"container":true}}`
		if got := r.URL.Query().Get("filters"); got != want {
			t.Errorf("filters = %s, want %s", got, want)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":`+
			`{"name":"one","berth.session":"ses-unit","exitCode":"137"}},"timeNano":1767323045000006789}`+"\n")
	})
	ready := 0
	var got []session.RuntimeEvent
	err := e.open(nil).Watch(t.Context(), func() { ready++ }, func(e session.RuntimeEvent) { got = append(got, e) })
	wantCode(t, err, session.CodeEngineUnavailable, "the stream ended, though in good order")
	want := []session.RuntimeEvent{{
		Action: session.ActionEnded, Container: "c1", Name: "one", Session: "ses-unit", ExitCode: 137,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if ready != 1 {
		t.Errorf("ready was called %d times, want once: the caller reconciles then", ready)
	}
}

func TestRefusedWatchIsNeverReady(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.on("GET /events", engineError(http.StatusInternalServerError, "no"))
	err := e.open(nil).Watch(t.Context(), func() { t.Error("ready was called, want never") }, func(session.RuntimeEvent) {})
	wantCode(t, err, session.CodeInternal, "the engine said no")
}
