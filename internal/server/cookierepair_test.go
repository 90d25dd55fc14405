package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCookiesAreExpiredForEveryDomainAndPathThatTheyMayHave(t *testing.T) {
	t.Parallel()
	if d := cmp.Diff([]string{"; Domain=example.test", "; Domain=s.example.test", "; Domain=b.s.example.test", ""}, cookieDomains("b.s.example.test")); d != "" {
		t.Errorf("domains (-want +got):\n%s", d)
	}
	for path, want := range map[string][]string{
		"/":        {"/"},
		"":         {"/"},
		"/a":       {"/", "/a"},
		"/a/b":     {"/", "/a", "/a/", "/a/b"},
		"/a/":      {"/", "/a", "/a/"},
		"/a/b;c/d": {"/", "/a", "/a/"},
	} {
		if d := cmp.Diff(want, cookiePaths(path)); d != "" {
			t.Errorf("paths of %q (-want +got):\n%s", path, d)
		}
	}
	got := expiring([]string{"", "x", "__Host-berth-b"}, "e.test", "/")
	want := []string{
		"=; Max-Age=0; Path=/; Domain=e.test", "=; Max-Age=0; Path=/", "x=; Max-Age=0; Path=/; Domain=e.test", "x=; Max-Age=0; Path=/",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
}

// Names, paths and hosts come from a page next door.
func TestRepairOfCookiesIsBounded(t *testing.T) {
	t.Parallel()
	var cookies []string
	for i := range 180 {
		cookies = append(cookies, fmt.Sprint(i)+strings.Repeat("n", 4000)+"=v")
	}
	r := httptest.NewRequest(http.MethodGet, "https://"+strings.Repeat("a.", 100)+"test"+strings.Repeat("/a", 1000), nil)
	r.Header.Set("Cookie", strings.Join(cookies, "; "))
	h := http.Header{}
	repairCookies(h, r)
	size := 0
	for _, field := range h["Set-Cookie"] {
		size += len(field)
	}
	if size < maxExpiring/2 || size > maxExpiring+200 {
		t.Errorf("got %d fields of %d bytes, want at most %d", len(h["Set-Cookie"]), size, maxExpiring)
	}
}
