package session_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"berth/internal/session"
)

func TestVariablesAreNeverPrinted(t *testing.T) {
	t.Parallel()
	s := session.Session{Shape: session.Shape{Env: session.Variables{"API_KEY": "hunter2"}}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "session", s, "env", s.Shape.Env)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{
		fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%q %x", s.Shape.Env, s.Shape.Env), string(text), log.String(),
	} {
		if strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("the value is in %s", out)
		}
	}
}

func TestNarrowedIsNeverMoreThanTheProfile(t *testing.T) {
	t.Parallel()
	covers := func(allow []string, rule string) bool {
		return slices.Contains(allow, rule) || rule == "npmjs.org" && slices.Contains(allow, "packages")
	}
	for name, row := range map[string]struct {
		profile session.Profile
		asked   session.Shape
		mode    session.EgressMode
		allow   []string
	}{
		"nothing said":              {session.Profile{}, session.Shape{}, session.EgressListed, []string{"packages"}},
		"none":                      {session.Profile{}, session.Shape{Egress: session.EgressNone}, session.EgressNone, nil},
		"more than the profile":     {session.Profile{Egress: session.EgressNone}, session.Shape{Egress: session.EgressOpen}, session.EgressNone, nil},
		"list where there is none":  {session.Profile{Egress: session.EgressNone}, session.Shape{Allow: []string{"packages"}}, session.EgressNone, nil},
		"open for listed":           {session.Profile{}, session.Shape{Egress: session.EgressOpen}, session.EgressListed, []string{"packages"}},
		"a part of the list":        {session.Profile{}, session.Shape{Allow: []string{"npmjs.org"}}, session.EgressListed, []string{"npmjs.org"}},
		"another list":              {session.Profile{}, session.Shape{Allow: []string{"forges", "npmjs.org"}}, session.EgressListed, []string{"npmjs.org"}},
		"open":                      {session.Profile{Egress: session.EgressOpen}, session.Shape{}, session.EgressOpen, nil},
		"listed for open":           {session.Profile{Egress: session.EgressOpen}, session.Shape{Egress: session.EgressListed}, session.EgressListed, []string{"packages"}},
		"list for open":             {session.Profile{Egress: session.EgressOpen}, session.Shape{Allow: []string{"forges"}}, session.EgressListed, []string{"forges"}},
		"no list beside none":       {session.Profile{}, session.Shape{Egress: session.EgressNone, Allow: []string{"packages"}}, session.EgressNone, nil},
		"list of the profile's own": {session.Profile{EgressAllow: []string{"forges"}}, session.Shape{}, session.EgressListed, []string{"forges"}},
	} {
		mode, allow := row.profile.Narrowed(row.asked, covers)
		if mode != row.mode || !slices.Equal(allow, row.allow) {
			t.Errorf("%s: got %s %v, want %s %v", name, mode, allow, row.mode, row.allow)
		}
	}
}

func TestProfileConfigIsAddedToTheVariable(t *testing.T) {
	t.Parallel()
	p := session.Profile{
		ConfigEnv: "CONFIG", Env: map[string]string{"CONFIG": `{"share":"disabled","n":12345678901234567890,"agent":{"a":{"prompt":"x"}}}`, "OTHER": "1"},
		Config: map[string]any{"share": "auto", "agent": map[string]any{"b": map[string]any{"prompt": "y"}}},
	}
	got, err := p.WithConfig()
	want := `{"agent":{"a":{"prompt":"x"},"b":{"prompt":"y"}},"n":12345678901234567890,"share":"auto"}`
	if err != nil || got.Env["CONFIG"] != want || got.Env["OTHER"] != "1" || got.Config != nil {
		t.Errorf("got %v, %v; want %s", got.Env, err, want)
	}
	if strings.Contains(p.Env["CONFIG"], "prompt\":\"y") {
		t.Error("the profile itself has changed")
	}
	for name, change := range map[string]func(*session.Profile){
		"no variable":     func(p *session.Profile) { p.ConfigEnv = "" },
		"no object":       func(p *session.Profile) { p.Env = map[string]string{"CONFIG": "[]"} },
		"null":            func(p *session.Profile) { p.Env = map[string]string{"CONFIG": "null"} },
		"more than one":   func(p *session.Profile) { p.Env = map[string]string{"CONFIG": "{}{}"} },
		"not JSON":        func(p *session.Profile) { p.Env = map[string]string{"CONFIG": "{"} },
		"not expressible": func(p *session.Profile) { p.Config = map[string]any{"f": map[any]any{1: 2}} },
	} {
		bad := p
		change(&bad)
		if got, err := bad.WithConfig(); err == nil {
			t.Errorf("%s: got %v, want an error", name, got.Env)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]session.CPUs{"1": session.OneCPU, "0.5": session.OneCPU / 2, "1.5": 3 * session.OneCPU / 2, "0": 0} {
		if got, err := session.ParseCPUs(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %d (%s), %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "-1", "NaN", "Inf", "1e300", "two", "1 "} {
		if got, err := session.ParseCPUs(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}
