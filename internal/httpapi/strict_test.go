package httpapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// Texts that decoders interpret differently are refused: two owners would become one, or one two.
func TestAmbiguousBodiesAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for name, body := range map[string]string{
		"half a pair":                   `{"owner":"a\ud800"}`,
		"another half":                  `{"owner":"a\udc00"}`,
		"two first halves":              `{"owner":"\ud83d\ud83d\ude00"}`,
		"half a pair and a character":   `{"owner":"\ud83d-\ude00"}`,
		"half a pair and an escape":     `{"owner":"\ud83d\n"}`,
		"half a pair at the end":        `{"metadata":{"k":"\uD83D"}}`,
		"half a pair in a name":         `{"metadata":{"\ud83d":1}}`,
		"invalid UTF-8":                 "{\"owner\":\"a\xff\"}",
		"a surrogate in UTF-8":          "{\"owner\":\"a\xed\xa0\x80\"}",
		"overlong UTF-8":                "{\"metadata\":{\"k\":\"\xc0\xaf\"}}",
		"a member twice":                `{"owner":"a","owner":"b"}`,
		"a member twice, escaped":       `{"owner":"a","\u006fwner":"b"}`,
		"a member twice, by case":       `{"owner":"a","Owner":"b"}`,
		"a member twice, by a long s":   `{"profile":"a","metadata":{},"owner":"a","\u017F":1}`,
		"a member twice in the depth":   `{"metadata":{"a":[{"b":{"x":1,"y":{},"x":2}}]}}`,
		"a member twice with an object": `{"metadata":{"a":{}},"metadata":{}}`,
		"something behind":              `{"owner":"a"} {}`,
		"rubbish behind":                `{"owner":"a"}x`,
		"not ended":                     `{"owner":"a"`,
		"an owner that reads backwards": `{"owner":"a\u202eb"}`,
		"a direction mark":              `{"owner":"a\u200e"}`,
		"an isolate":                    "{\"owner\":\"\u2066a\"}",
		"no width":                      `{"owner":"a\u200b"}`,
		"a mark of byte order":          `{"owner":"\ufeffa"}`,
		"8-bit control":                 `{"owner":"a\u009b2J"}`,
		"a new line":                    `{"owner":"a\nb"}`,
		"a separator of lines":          `{"owner":"a\u2028b"}`,
		"a tag":                         `{"owner":"a\udb40\udc41"}`,
		"U+FFFD":                        `{"owner":"a\ufffd"}`,
		"256 characters":                `{"owner":"` + strings.Repeat("ü", 256) + `"}`,
	} {
		a := w.call(http.MethodPost, "/sessions", adminToken, body)
		if a.status != http.StatusBadRequest && a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d %s, want 400 or 422", name, a.status, a.body)
			continue
		}
		if p := a.problem(t); p.Code != session.CodeInvalid && p.Code != session.CodeMalformed || p.Detail == "" {
			t.Errorf("%s: got %+v, want an explanation", name, p)
		}
	}
	if page := decode[struct{ Sessions []httpapi.Session }](t, w.call(http.MethodGet, "/sessions", adminToken, "")); len(page.Sessions) != 0 {
		t.Errorf("%d sessions were made", len(page.Sessions))
	}
}

func TestOwnersAreReturnedUnchanged(t *testing.T) {
	t.Parallel()
	for body, owner := range map[string]string{
		`{"owner":"` + strings.Repeat("ü", 255) + `"}`:                 strings.Repeat("ü", 255),
		`{"owner":"` + strings.Repeat("🙂", 255) + `"}`:                 strings.Repeat("🙂", 255),
		`{"owner":"\ud83d\ude42\u00fc \\ud800 \\\ud83d\ude42"}`:        `🙂ü \ud800 \🙂`,
		`{"owner":"日本語 e\u0301","metadata":{"a":{"x":1},"b":{"x":1}}}`: "日本語 e\u0301",
	} {
		w := newFixture(t)
		a := w.call(http.MethodPost, "/sessions", adminToken, body)
		if a.status != http.StatusCreated {
			t.Errorf("%s: got %d %s", body, a.status, a.body)
			continue
		}
		if got := decode[httpapi.NewSession](t, a).Owner; got != owner {
			t.Errorf("%s: got owner %q, want %q", body, got, owner)
		}
		page := decode[struct{ Sessions []httpapi.Session }](t, w.call(http.MethodGet, "/sessions?owner="+url.QueryEscape(owner), adminToken, ""))
		if len(page.Sessions) != 1 {
			t.Errorf("%q has %d sessions, want 1", owner, len(page.Sessions))
		}
	}
}

// An empty filter is an error, not a request for all owners' sessions.
func TestEmptyOwnerFilterIsRejected(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Make(lifecycle.Request{Owner: "alice"})
	for _, query := range []string{"owner=", "owner", "owner=&limit=5", "status=", "owner=a&owner=b", "owner=&owner=a", "owner=%ff", "owner=%zz", "status=running&status=error"} {
		for _, path := range []string{"/sessions", "/auth/sessions"} {
			if path == "/auth/sessions" && strings.HasPrefix(query, "status") {
				continue
			}
			a := w.call(http.MethodGet, path+"?"+query, adminToken, "")
			if a.status != http.StatusUnprocessableEntity || a.problem(t).Code != session.CodeInvalid {
				t.Errorf("%s?%s: got %d %s, want 422", path, query, a.status, a.body)
			}
		}
	}
}
