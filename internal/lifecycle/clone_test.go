package lifecycle_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

func TestRepositoryIsForTheEntryPoint(t *testing.T) {
	t.Parallel()
	h := shaped(t)
	s, _ := h.Make(lifecycle.Request{Shape: session.Shape{Repository: "https://git.example/team/app.git", Ref: "main"}})
	got := spec(t, h, s).Profile.Env
	if got["BERTH_REPOSITORY"] != "https://git.example/team/app.git" || got["BERTH_REF"] != "main" {
		t.Errorf("got %v", got)
	}
	var events []string
	for _, e := range h.stored(s.ID).Timeline {
		events = append(events, string(e.Type)+" "+e.Reason)
	}
	if got := strings.Join(events, ", "); got != "created , cloning https://git.example/team/app.git, ready " {
		t.Errorf("got the events %q", got)
	}
}

// The first start may take the time of a clone, and no start after it.
func TestCloneHasATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t, func(o *lifecycle.Options) {
			o.StartTimeout, o.CloneTimeout, o.Now = time.Minute, 10*time.Minute, time.Now
		})
		for name, row := range map[string]struct {
			slow  time.Duration
			shape session.Shape
			code  session.Code
		}{
			"within":     {8 * time.Minute, session.Shape{Repository: "https://git.example/x"}, ""},
			"too long":   {12 * time.Minute, session.Shape{Repository: "https://git.example/x"}, session.CodeStartTimeout},
			"no request": {8 * time.Minute, session.Shape{}, session.CodeStartTimeout},
		} {
			h.Engine.Behave("", runtimetest.Behaviour{Slow: row.slow})
			issued, err := h.Create(t.Context(), lifecycle.Request{Shape: row.shape})
			if err != nil {
				t.Fatal(err)
			}
			s, err := issued.Wait(t.Context())
			if session.CodeOf(err) != row.code {
				t.Errorf("%s: got %v, want %q", name, err, row.code)
			}
			if name != "within" {
				continue
			}
			if _, err := h.do(h.Stop, s.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := h.do(h.Start, s.ID); session.CodeOf(err) != session.CodeStartTimeout {
				t.Errorf("the start after it: got %v, want the usual time-out", err)
			}
		}
	})
}

func TestFailedCloneIsTheLastError(t *testing.T) {
	t.Parallel()
	h := shaped(t)
	h.Engine.Behave("", runtimetest.Behaviour{Exits: true, ExitCode: 65})
	issued, err := h.Create(t.Context(), lifecycle.Request{Shape: session.Shape{Repository: "https://git.example/x"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := issued.Wait(t.Context())
	if session.CodeOf(err) != session.CodeStartFailed || s.Status != session.Error || strings.Contains(s.LastError, "exited with code") {
		t.Errorf("got %v, %q; want the last line of the log alone", err, s.LastError)
	}
}
