package policy

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"berth/internal/session"
)

// For every request line under a session's prefix that Go's server accepts, the session's server gets the same path, except
// that characters which are not allowed in a path arrive escaped.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/", "//", "/..%2f..", "/%2e%2e/", "/a%2fb|c", "/../../x", `/\..\`, "/%", "/?a", "/%zz", "/;", "/\xff", "/%25",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /s/ses-one" + rest + " HTTP/1.1\r\nHost: h\r\n\r\n")))
		if err != nil {
			t.Skip("no request")
		}
		wire := r.RequestURI
		id, got, ok := splitPath(TargetOf(r.URL).Path)
		if !ok {
			t.Fatalf("%q is not under the prefix", wire)
		}
		if _, err := session.ParseID(id); err != nil || got == "" {
			t.Skip("another or no session")
		}
		if id != "ses-one" && !strings.HasPrefix(rest, strings.TrimPrefix(id, "ses-one")) {
			t.Fatalf("%q: got session %q", wire, id)
		}
		u, err := Target{Path: got, Query: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}.At("10.0.0.2:4096")
		if err != nil {
			t.Fatalf("%q: %v", wire, err)
		}
		path, query, hasQuery := strings.Cut(strings.TrimPrefix(wire, "/s/"+id), "?")
		want := escapeIllegal(path)
		if hasQuery {
			want += "?" + query
		}
		if u.RequestURI() != want {
			t.Errorf("%q: got %q, want %q", wire, u.RequestURI(), want)
		}
		before, _ := url.PathUnescape(path)
		if u.Path != before || u.Host != "10.0.0.2:4096" {
			t.Errorf("%q: means %q at %q, want %q", wire, u.Path, u.Host, before)
		}
	})
}
