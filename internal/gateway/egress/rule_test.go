package egress

import (
	"strings"
	"testing"
)

func TestRuleIsParsedToItsCanonicalForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"registry.example":                   "registry.example",
		"Registry.EXAMPLE:443":               "registry.example:443",
		"*.Example.com":                      "*.example.com",
		"*.example.com:8443":                 "*.example.com:8443",
		"bücher.example":                     "xn--bcher-kva.example",
		"*.BÜCHER.example:443":               "*.xn--bcher-kva.example:443",
		"xn--bcher-kva.example":              "xn--bcher-kva.example",
		"10.1.2.0/24:5432":                   "10.1.2.0/24:5432",
		"[fd00:1::/64]:5432":                 "[fd00:1::/64]:5432",
		strings.Repeat("a.", 20) + "example": strings.Repeat("a.", 20) + "example",
	} {
		r, err := ParseRule(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: got %s, %v, want %s", text, r, err, want)
			continue
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%s: read again it is %v, %v", r, again, err)
		}
	}
}

func TestRuleThatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", ".", "*", "*.", "*.*.example.com", "a.*.example.com", "*example.com", "*.com", "localhost", "example.com.", ".example.com",
		"a..example.com", "[example.com]", "[[example.com]]", "example.com:", "example.com:0", "example.com:080", "example.com:+80",
		"example.com:65536", "example.com:80:80", "example.com:http", "exa mple.com", "exam%70le.com", "example.com\x00", "exam\x00ple.com",
		"example.com\n", "exa_mple.com", "-a.example.com", "a-.example.com", "example。com", "example．com", "example｡com", "xn--a.example",
		"xn--\u00fc.example", "http://example.com", "example.com/path", "user@example.com", "example.com#", "10.1.2.3", "10.1.2.3:5432", "127.1",
		"0x7f.1", "a.0x7f", "1.2.3.4.5", "::1", "[::1]:80", "fd00::1", "[fd00::1]:80", "10.1.2.0/24", "10.1.2.3/24:80", "10.1.2.0/33:80",
		"fd00::/64:80", "[10.1.2.0/24]:80", "[::ffff:10.0.0.0/104]:80", "[fd00::/64:80", strings.Repeat("a", 64) + ".example",
		strings.Repeat("a.", 130) + "example", "\u202eexample.com", "exa\u00admple.com.", "a\tb.example",
	} {
		if r, err := ParseRule(text); err == nil {
			t.Errorf("%q: read as %s, want an error", text, r)
		}
	}
}

func TestRuleMatchesNameAndPortTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule, target string
		want         bool
	}{
		{"example.com", "example.com:443", true},
		{"example.com", "example.com:80", true},
		{"example.com", "EXAMPLE.com:80", true},
		{"example.com", "example.com:22", false},
		{"example.com:443", "example.com:80", false},
		{"example.com:8443", "example.com:443", false},
		{"example.com:8443", "example.com:8443", true},
		{"example.com", "a.example.com:443", false},
		{"example.com", "notexample.com:443", false},
		{"*.example.com", "a.example.com:443", true},
		{"*.example.com", "a.b.example.com:443", true},
		{"*.example.com", "example.com:443", false},
		{"*.example.com", "notexample.com:443", false},
		{"*.example.com", "a.example.com.evil.test:443", false},
		{"*.example.com:443", "a.example.com:80", false},
		{"10.1.2.0/24:5432", "10.1.2.7:5432", true},
		{"10.1.2.0/24:5432", "10.1.3.7:5432", false},
		{"10.1.2.0/24:5432", "10.1.2.7:5433", false},
		{"[fd00::/64]:5432", "[fd00::9]:5432", true},
	} {
		r, err := ParseRule(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		target, err := ParseTarget(c.target)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Matches(target); got != c.want {
			t.Errorf("%s matches %s: got %t, want %t", c.rule, c.target, got, c.want)
		}
	}
}

func TestTargetThatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", ":443", "example.com", "example.com:", "example.com:0443", "example.com:443:443", "example.com.:443", "[example.com]:443", "[[example.com]]:443",
		"bücher.example:443", "example.com%00:443", "example.com\x00:443", "exam ple.com:443", "user@example.com:443", "http://example.com:443", "127.1:80",
		"0x7f000001:80", "0x7f.0.0.1:80", "2130706433:80", "0177.0.0.1:80", "1.2.3.4.:80", "::1:80", "[fe80::1%eth0]:80", "[::ffff:10.1.2.3]:80", "[10.1.2.3]:80",
		"[]:80", "[:80", "localhost:80", "example.com:99999", "example.com/:443", "*.example.com:443", "example。com:443",
	} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%q: read as %s, want an error", text, got)
		}
	}
	for text, want := range map[string]string{
		"Example.COM:443": "example.com:443", "10.1.2.3:5432": "10.1.2.3:5432", "[fd00::1]:5432": "[fd00::1]:5432", "xn--bcher-kva.example:1": "xn--bcher-kva.example:1",
	} {
		if got, err := ParseTarget(text); err != nil || got.String() != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
}
