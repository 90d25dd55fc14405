package httpapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

func TestUpgradeAndBackOverHTTP(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Engine.BehaveImage("stub:broken", runtimetest.Behaviour{Exits: true, ExitCode: 3})
	s, token := w.Make(lifecycle.Request{})
	path := "/sessions/" + string(s.ID)
	for _, step := range []struct {
		token, body string
		status      int
		code, image string
	}{
		{token.Reveal(), `{}`, http.StatusUnauthorized, "unauthorized", "stub:1"},
		{adminToken, `{"image":"stub:2"}`, http.StatusOK, "", "stub:2"},
		{adminToken, `{"image":"stub:broken"}`, http.StatusBadGateway, "upgrade_failed", "stub:2"},
		{adminToken, `{"back":true}`, http.StatusConflict, "conflict", "stub:2"}, // the copy was used already
		{adminToken, `{"image":"` + runtimetest.MissingImage + `"}`, http.StatusUnprocessableEntity, "image_not_found", "stub:2"},
		{adminToken, `{"image":"` + runtimetest.InvalidImage + `"}`, http.StatusUnprocessableEntity, "invalid_request", "stub:2"},
		{adminToken, `{"image":"stub:3","back":true}`, http.StatusUnprocessableEntity, "invalid_request", "stub:2"},
		{adminToken, `{"image":"stub:3"}`, http.StatusOK, "", "stub:3"},
		{adminToken, `{"back":true}`, http.StatusOK, "", "stub:2"},
		{adminToken, ``, http.StatusOK, "", "stub:1"},
	} {
		a := w.call(http.MethodPost, path+"/upgrade", step.token, step.body)
		shown := decode[httpapi.Session](t, w.call(http.MethodGet, path, adminToken, ""))
		if a.status != step.status || shown.Image != step.image || shown.Status != session.Running {
			t.Errorf("upgrade with %s: got %d %s and %s on %s, want %d and running on %s",
				step.body, a.status, a.body, shown.Status, shown.Image, step.status, step.image)
		}
		if step.code != "" && string(a.problem(t).Code) != step.code {
			t.Errorf("upgrade with %s: got %s, want code %s", step.body, a.body, step.code)
		}
	}
}

func TestOperatorSeesWhatIsOutOfDate(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, token := w.Make(lifecycle.Request{})
	w.Engine.Rebuild(s.Image)
	path := "/sessions/" + string(s.ID)
	if got := decode[httpapi.Session](t, w.call(http.MethodGet, path, adminToken, "")).OutOfDate; !slices.Equal(got, []session.Part{session.PartImage}) {
		t.Errorf("the operator sees %v out of date, want the image", got)
	}
	if got := w.call(http.MethodGet, path, token.Reveal(), ""); got.status != http.StatusOK || strings.Contains(string(got.body), "out_of_date") {
		t.Errorf("the session's token is shown %s, want nothing about what is out of date: it cannot change that", got.body)
	}
	w.Engine.SetDown(true)
	if got := w.call(http.MethodGet, path, adminToken, ""); got.status != http.StatusOK {
		t.Errorf("without an engine: got %d %s, want the session", got.status, got.body)
	}
}

func TestMistypedImageIsRefusedBeforeCreate(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for image, code := range map[string]session.Code{
		runtimetest.MissingImage: session.CodeImageNotFound, runtimetest.InvalidImage: session.CodeInvalid,
	} {
		for _, prefer := range []string{"", "respond-async"} {
			a := w.call(http.MethodPost, "/sessions", adminToken, `{"image":"`+image+`"}`, "Prefer", prefer)
			p := a.problem(t)
			if a.status != http.StatusUnprocessableEntity || p.Code != code || !strings.Contains(p.Detail, image) || p.SessionID != "" {
				t.Errorf("create with %q: got %d %s, want 422 %s that names it, and no session", image, a.status, a.body, code)
			}
		}
	}
	if page, err := w.List(t.Context(), session.Query{}); err != nil || len(page.Sessions) > 0 {
		t.Errorf("got %v, %v, want no session", page.Sessions, err)
	}
	w.Engine.Script(runtimetest.OpCheckImage, runtimetest.Step{Err: session.Errorf(session.CodeEngineUnavailable, "away")})
	if a := w.call(http.MethodPost, "/sessions", adminToken, ""); a.status != http.StatusCreated {
		t.Errorf("create while the engine is unavailable: got %d %s, want 201: nothing is refused then", a.status, a.body)
	}
}

func TestOversizedProfileIsRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *lifecycle.Options) {
		large := o.Profiles["opencode"]
		large.MinMem = o.Limits.Memory + 1
		o.Profiles = map[string]session.Profile{"opencode": o.Profiles["opencode"], "large": large}
	})
	if a := w.call(http.MethodPost, "/sessions", adminToken, ""); a.status != http.StatusCreated {
		t.Errorf("create with the default profile: got %d %s, want 201", a.status, a.body)
	}
	a := w.call(http.MethodPost, "/sessions", adminToken, `{"profile":"large"}`)
	if p := a.problem(t); a.status != http.StatusUnprocessableEntity || !strings.Contains(p.Detail, "CONTAINER_MEMORY_LIMIT") {
		t.Errorf("create with the profile that needs more: got %d %s, want 422 and what to do", a.status, a.body)
	}
}
