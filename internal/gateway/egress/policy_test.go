package egress

import (
	"strings"
	"testing"

	"berth/internal/session"
)

func listed(allow ...string) session.Caller {
	return session.Caller{Session: "one", Profile: "opencode", Egress: session.EgressListed, Allow: allow}
}

func target(t testing.TB, text string) Target {
	t.Helper()
	got, err := ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPolicyAllowsWhatIsOnTheList(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, map[string][]string{"ours": {"*.corp.example", "db.corp.example:5432", "10.1.2.0/24:5432"}}, "10.0.0.0/8:5432")
	for _, c := range []struct {
		caller session.Caller
		target string
		rule   string
	}{
		{listed("packages"), "registry.npmjs.org:443", "registry.npmjs.org:443"},
		{listed("packages"), "files.pythonhosted.org:443", "files.pythonhosted.org:443"},
		{listed("packages"), "deb.debian.org:80", "deb.debian.org"},
		{listed("forges"), "codeload.github.com:443", "codeload.github.com:443"},
		{listed("packages", "ours"), "git.corp.example:443", "*.corp.example"},
		{listed("ours"), "db.corp.example:5432", "db.corp.example:5432"},
		{listed("ours"), "10.1.2.9:5432", "10.1.2.0/24:5432"},
		{listed("example.com:8443"), "example.com:8443", "example.com:8443"},
		{session.Caller{Egress: session.EgressOpen}, "anything.example:22", "open"},
	} {
		if v := p.Judge(c.caller, target(t, c.target)); !v.Allowed || v.Rule != c.rule {
			t.Errorf("%s with %q: got %+v, want allowed by %s", c.target, c.caller.Allow, v, c.rule)
		}
	}
}

func TestRefusalNamesRuleAndRemedy(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, nil)
	for _, c := range []struct {
		caller session.Caller
		target string
		reason Reason
		says   []string
	}{
		{listed("packages"), "example.com:443", ReasonNotListed, []string{"example.com:443", "(packages)", "egress_allow", `"opencode"`}},
		{listed("packages"), "github.com:443", ReasonNotListed, []string{"list forges", "add to egress_allow"}},
		{listed("packages"), "registry.npmjs.org:22", ReasonNotListed, []string{"registry.npmjs.org:443 only"}},
		{listed("packages"), "github.com:22", ReasonNotListed, []string{"ask the operator"}},
		{listed(), "registry.npmjs.org:443", ReasonNotListed, []string{"(nothing)"}},
		{listed("no-such-list", "bad..rule"), "example.com:443", ReasonNotListed, nil},
		{listed("packages"), "10.1.2.3:443", ReasonNotListed, []string{"10.1.2.3:443"}},
		{listed("packages"), "203.0.113.5:443", ReasonNotListed, nil},
		{session.Caller{Egress: session.EgressNone, Allow: []string{"packages"}}, "registry.npmjs.org:443", ReasonMode, []string{"egress is none"}},
		{session.Caller{Allow: []string{"packages"}}, "registry.npmjs.org:443", ReasonMode, nil},
		{session.Caller{Egress: session.EgressOpen}, "10.1.2.3:443", ReasonAddress, []string{"a private address"}},
	} {
		v := p.Judge(c.caller, target(t, c.target))
		if v.Allowed || v.Reason != c.reason {
			t.Errorf("%s with %q: got %+v, want refused as %s", c.target, c.caller.Allow, v, c.reason)
		}
		for _, want := range c.says {
			if !strings.Contains(v.Sentence, want) {
				t.Errorf("%s: the sentence %q does not say %q", c.target, v.Sentence, want)
			}
		}
	}
}

func TestSessionMayBeGivenLessNeverMore(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, map[string][]string{"ours": {"*.corp.example:443", "plain.example"}, "few": {"pypi.org:443"}}, "10.1.0.0/16:5432", "10.1.0.0/16:80")
	profile := []string{"packages", "ours", "extra.example", "10.1.2.0/24:5432"}
	for _, asked := range [][]string{
		nil,
		{"packages"},
		{"few"},
		{"pypi.org:443"},
		{"a.corp.example:443"},
		{"*.deep.corp.example:443"},
		{"*.corp.example:443"},
		{"extra.example"},
		{"extra.example:80"},
		{"plain.example:443", "ours"},
		{"10.1.2.128/25:5432"},
		{"10.1.2.3/32:5432"},
		{"EXTRA.example:443"},
	} {
		if err := p.Subset(profile, asked); err != nil {
			t.Errorf("%q: got %v, want no error", asked, err)
		}
	}
	for _, asked := range [][]string{
		{"forges"},
		{"pypi.org"},
		{"pypi.org:80"},
		{"corp.example:443"},
		{"a.corp.example"},
		{"*.example:443"},
		{"a.extra.example"},
		{"extra.example:22"},
		{"packages", "github.com:443"},
		{"10.1.0.0/16:5432"},
		{"10.1.2.0/24:80"},
		{"no-such-list"},
		{""},
		{"bad..rule"},
		{"*.plain.example"},
	} {
		if err := p.Subset(profile, asked); err == nil {
			t.Errorf("%q: got no error, want one", asked)
		}
	}
	if err := p.Subset([]string{"gone"}, []string{"packages"}); err == nil {
		t.Error("a profile with an unknown list: got no error")
	}
}

func TestPolicyReportsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := NewPolicy(map[string][]string{
		"packages": {"a.example"}, "Upper": nil, "with.dot": nil, "good": {"bad..name", "b.example:0", "10.9.0.0/16:5432"},
	}, []string{"10.0.0.0/8", "0.0.0.0/0:80", "8.8.8.0/24:53", "169.254.169.254/32:80", "127.0.0.0/8:80", "example.com:80", "[::ffff:10.0.0.0/104]:80", "100.100.100.200/32:80"})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		`"packages"`, `"Upper"`, `"with.dot"`, "bad..name", "b.example:0", "10.9.0.0/16:5432", "10.0.0.0/8", "0.0.0.0/0:80", "8.8.8.0/24:53", "169.254.169.254", "127.0.0.0/8", "example.com:80",
		"::ffff:10.0.0.0", "100.100.100.200",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the faults do not name %s:\n%v", want, err)
		}
	}
	p := newPolicy(t, nil)
	if err := p.Check([]string{"packages", "a.example"}); err != nil {
		t.Errorf("valid entries: %v", err)
	}
	if err := p.Check([]string{"pakages", "a..example", "10.0.0.0/8:80"}); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three faults: got %v", err)
	}
}

// TestPresetsHaveNoHostForEverybody: hosts where anyone can store anything would make each list a way out.
func TestPresetsHaveNoHostForEverybody(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, nil)
	_, byDefault := session.Profile{}.EgressOf()
	for _, host := range []string{"storage.googleapis.com", "s3.amazonaws.com", "example.github.io", "raw.githubusercontent.com", "github.com", "dl.google.com"} {
		if v := p.JudgeName(listed(byDefault...), host); v.Allowed {
			t.Errorf("%s is on the default list by %s", host, v.Rule)
		}
	}
	for name, rules := range presets {
		for _, r := range rules {
			if strings.HasPrefix(r, "*") {
				t.Errorf("%s: %s is a wildcard", name, r)
			}
		}
	}
}
