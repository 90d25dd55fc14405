package proxy

import (
	"net/http"
	"testing"
)

func TestRedirectsAreRewrittenUnderThePrefix(t *testing.T) {
	t.Parallel()
	var location string
	w := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Location"] = []string{location}
		w.Header()["Content-Location"] = []string{location}
		w.WriteHeader(http.StatusFound)
	})
	for from, want := range map[string]string{
		"/login": "/s/ses-one/login", "../../../sessions": "/s/ses-one/sessions", w.front.URL + "/sessions": "/s/ses-one/sessions",
		"http:/sessions": "", "https://example.com/": "https://example.com/",
	} {
		location = from
		got := w.get(t, "/a/b")
		if got.status != 302 || got.header.Get("Location") != want || got.header.Get("Content-Location") != want {
			t.Errorf("%q: got %d %q and %q, want 302 %q", from, got.status, got.header.Get("Location"), got.header.Get("Content-Location"), want)
		}
	}
}
