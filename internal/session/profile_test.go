package session_test

import (
	"strings"
	"testing"

	"berth/internal/session"
	"berth/internal/sessiontest"
)

func TestProfileRefusesAmbiguousProbe(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*session.Probe)
		fault  string // part of it; empty: none
	}{
		"unchanged":                {func(*session.Probe) {}, ""},
		"another status":           {func(p *session.Probe) { p.Status, p.Member = 204, "" }, ""},
		"a status of failure":      {func(p *session.Probe) { p.Status, p.Member = 503, "" }, "ready.status 503"},
		"a member without content": {func(p *session.Probe) { p.Status, p.Member = 204, "healthy" }, "ready.member"},
		"no path":                  {func(p *session.Probe) { p.Path = "health" }, "ready.path"},
	} {
		profile := sessiontest.Profile()
		row.change(&profile.Ready)
		err := profile.Validate()
		if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
			t.Errorf("%s: got %v, want a fault about %q", name, err, row.fault)
		}
	}
}

func TestProfileRefusesLandingThatIsNoPath(t *testing.T) {
	t.Parallel()
	for landing, valid := range map[string]bool{
		"": true, "/{workspace}/session": true, "/home": true,
		"/": false, "//evil.example": false, "/..": false, "/a/../..": false, "https://evil.example": false, "session": false,
		"/a?b": false, "/{state}": false, "/a/": false, "/\\evil.example": false, "/a\r\nb": false,
	} {
		profile := sessiontest.Profile()
		profile.Landing = landing
		if err := profile.Validate(); (err == nil) != valid {
			t.Errorf("%q: got %v, want it valid: %v", landing, err, valid)
		}
	}
}
