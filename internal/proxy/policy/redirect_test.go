package policy

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestRedirectsStayUnderThePrefix(t *testing.T) {
	t.Parallel()
	const prefix = "/s/ses-one"
	refused := "\x00"
	for location, want := range map[string]string{
		"/login":               prefix + "/login",
		"/a%2Fb?next=/c#d":     prefix + "/a%2Fb?next=/c#d",
		"/":                    prefix + "/",
		"/?q":                  prefix + "/?q",
		"/a//b":                prefix + "/a//b",
		"http://{host}/x":      prefix + "/x",
		"https://{HOST}/x":     prefix + "/x",
		"http://{address}":     prefix + "/",
		"//{host}/x":           prefix + "/x",
		prefix + "/there":      prefix + "/there",
		"/s/ses-one-more/x":    prefix + "/s/ses-one-more/x",
		"relative":             "relative",
		"relative/x?y=../#../": "relative/x?y=../#../",
		"?only=query":          "?only=query",
		"#only-fragment":       "#only-fragment",
		"":                     "",

		"https://example.com/elsehow":     "https://example.com/elsehow",
		"https://example.com:8443/../x?y": "https://example.com:8443/../x?y",
		"//example.com/x":                 "//example.com/x",
		"mailto:someone@example.com":      "mailto:someone@example.com",
		"vscode://opencode/callback":      "vscode://opencode/callback",
		"http://{name}:9999/x":            "http://{name}:9999/x",

		// Dot segments in every form.
		"../up":                            prefix + "/up",
		"../../../../sessions":             prefix + "/sessions",
		"./x":                              prefix + "/deep/x",
		"..":                               prefix + "/",
		"/../../sessions":                  prefix + "/sessions",
		"/%2e%2e/%2E./sessions":            prefix + "/sessions",
		"/..\\..\\sessions":                prefix + "/sessions",
		"..\\..\\..\\sessions":             prefix + "/sessions",
		"/a/%zz/../../../../sessions":      prefix + "/sessions",
		prefix + "/../../sessions":         prefix + "/sessions",
		prefix + "/%2e%2e/ses-two/":        prefix + "/s/ses-two/",
		"http://{host}/../../sessions":     prefix + "/sessions",
		"http://{host}\\..\\..\\sessions":  prefix + "/sessions",
		"http://{host}/s/ses-two/steal":    prefix + "/s/ses-two/steal",
		"http:\\\\{host}\\sessions":        prefix + "/sessions",
		"\\\\{host}\\sessions":             prefix + "/sessions",
		"\\sessions":                       prefix + "/sessions",
		"///{host}/sessions":               prefix + "/sessions",
		"http:////{host}/sessions":         prefix + "/sessions",
		"http://user:pass@{host}/sessions": prefix + "/sessions",
		"HTTP://{name}.:{port}/sessions":   prefix + "/sessions",
		"http://{name}:0{port}/sessions":   prefix + "/sessions",
		"http://%62erth.example:{port}/x":  prefix + "/x",
		"http://{host}?q":                  prefix + "/?q",
		"  http://{host}/sessions  ":       prefix + "/sessions",

		// Ambiguous references.
		"http:/sessions":             refused,
		"http:sessions":              refused,
		"https:sessions":             refused,
		"/\t/evil.example/":          refused,
		"ht\ttp://{host}/sessions":   refused,
		"http://ｂerth.example/x":     refused,
		"http://0x7f.1:{port}/x":     refused,
		"http://2130706433:{port}/x": refused,
		"http://":                    refused,
		"//":                         refused,
	} {
		host := "berth.example:8080"
		w := redirect{prefix: prefix, base: "/deep/page", hosts: []string{host, "10.0.0.2:4096"}}
		fill := strings.NewReplacer("{host}", host, "{HOST}", strings.ToUpper(host), "{address}", "10.0.0.2:4096", "{name}", "berth.example", "{port}", "8080")
		got, ok := w.move(fill.Replace(location))
		if !ok {
			got = refused
		}
		if got != fill.Replace(want) {
			t.Errorf("%q: got %q, want %q", location, got, want)
		}
	}
}

func TestDefaultPortInARedirectIsTheSameOrigin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, location string
		own            bool
	}{
		{"berth.example", "http://berth.example:80/x", true},
		{"berth.example", "https://berth.example:443/x", true},
		{"berth.example", "http://berth.example:443/x", true}, // refused by the browser at worst, and never outside the prefix
		{"berth.example", "http://berth.example:8080/x", false},
		{"berth.example:80", "http://berth.example/x", true},
		{"berth.example:443", "https://berth.example/x", true},
		{"berth.example:443", "http://berth.example/x", false},
		{"berth.example:443", "//berth.example/x", true},
		{"berth.example:8080", "http://berth.example/x", false},
		{"127.0.0.1:8080", "http://127.0.0.1:8080/x", true},
		{"[::1]:8080", "http://[0:0::1]:8080/x", true},
	} {
		want := c.location
		if c.own {
			want = "/s/ses-one/x"
		}
		r := redirect{prefix: "/s/ses-one", base: "/", hosts: []string{c.host}}
		if got, _ := r.move(c.location); got != want {
			t.Errorf("%s for a client of %s: got %q, want %q", c.location, c.host, got, want)
		}
	}
}

// Every rewritten reference resolves to a URL under the prefix or on another origin. The oracle is a parser of its own: the
// standard library's, after normalizing slashes and control characters as the URL standard of browsers does.
func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{
		"/x", "../x", "//h/x", "http://berth.example/x", "/%2e%2e/x", `\..\x`, "http:x", "https:///x", "/\t/x", "?a#b", "x:y", "http://berth.example:80\\@h/",
		"http://BERTH.example.:/../x", "/s/ses-one/../x", "//berth.example/%2E%2e/..", "http://[::1]/", "http://a@b@berth.example/",
	} {
		f.Add(seed, "/deep/page")
	}
	f.Fuzz(func(t *testing.T, reference, base string) {
		if !strings.HasPrefix(base, "/") || strings.ContainsAny(base, "?#\\") || escapeIllegal(base) != base {
			return
		}
		const prefix = "/s/ses-one"
		r := redirect{prefix: prefix, base: base, hosts: []string{"berth.example", "10.0.0.2:4096"}}
		got, ok := r.move(reference)
		if !ok {
			return
		}
		if again, ok := r.move(got); !ok || again != got {
			t.Errorf("%q became %q, which becomes %q", reference, got, again)
		}
		end := strings.IndexAny(got, "?#")
		if end < 0 {
			end = len(got)
		}
		read := strings.ReplaceAll(got[:end], `\`, "/")
		scheme, rest, hasScheme := cutScheme(read)
		switch {
		case strings.ContainsFunc(got, func(c rune) bool { return c < ' ' }):
			t.Errorf("%q became %q, with characters that browsers drop", reference, got)
		case hasScheme && scheme != "http" && scheme != "https":
			return
		case strings.HasPrefix(rest, "//"):
			u, err := url.Parse("http://" + strings.Trim(rest, "/"))
			if err == nil && strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), "berth.example") && (u.Port() == "" || u.Port() == "80" || u.Port() == "443") {
				t.Errorf("%q became %q, which names our own origin", reference, got)
			}
		case hasScheme:
			t.Errorf("%q became %q, which is relative to some", reference, got)
		default:
			decoded := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(rest)
			if !strings.HasPrefix(decoded, "/") {
				where := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(prefix + base)
				decoded = where[:strings.LastIndexByte(where, '/')+1] + decoded
			}
			if clean := path.Clean(decoded); clean != prefix && !strings.HasPrefix(clean, prefix+"/") {
				t.Errorf("%q at %q became %q, which leads to %q", reference, base, got, clean)
			}
		}
	})
}
