package asset

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const name = "/assets/index-jmcwmLQ6.js"

// text is content that compresses well.
var text = strings.Repeat("export const answer = 42;\n", 400)

// exchange is a request and its answer.
type exchange struct {
	request Request
	answer  *http.Response
}

// newExchange is a browser's request for a script, and the answer of a server to it.
func newExchange(content string) exchange {
	return exchange{
		Request{Session: "one", Method: http.MethodGet, Path: name, Header: http.Header{"Accept-Encoding": {"gzip, deflate, br, zstd"}}},
		&http.Response{
			StatusCode: http.StatusOK, ContentLength: int64(len(content)), Body: io.NopCloser(strings.NewReader(content)),
			Header: http.Header{"Content-Type": {"text/javascript"}, "Content-Length": {strconv.Itoa(len(content))}, "Vary": {"Origin"}},
		},
	}
}

// through has c change the answer, and returns its body as it is sent.
func (e exchange) through(t *testing.T, c *Cache) string {
	t.Helper()
	if err := c.Answer(e.request, e.answer); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(e.answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if e.request.Method != http.MethodHead && e.answer.StatusCode != http.StatusNotModified && e.answer.Header.Get("Content-Length") != strconv.Itoa(len(body)) {
		t.Errorf("got Content-Length %q and %d bytes", e.answer.Header.Get("Content-Length"), len(body))
	}
	return string(body)
}

func TestAnswersThatStayAsTheyAre(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(e *exchange){
		"another directory":           func(e *exchange) { e.request.Path = "/index-jmcwmLQ6.js" },
		"the directory's name longer": func(e *exchange) { e.request.Path = "/assets2/index-jmcwmLQ6.js" },
		"escaped path":                func(e *exchange) { e.request.Path = "/assets/%69ndex-jmcwmLQ6.js" },
		"path with dots":              func(e *exchange) { e.request.Path = "/assets/../index-jmcwmLQ6.js" },
		"empty segment":               func(e *exchange) { e.request.Path = "/assets//index-jmcwmLQ6.js" },
		"another kind of file":        func(e *exchange) { e.request.Path = "/assets/index-jmcwmLQ6.html" },
		"a page for an unknown name":  func(e *exchange) { e.answer.Header.Set("Content-Type", "text/html") },
		"another type of content":     func(e *exchange) { e.answer.Header.Set("Content-Type", "text/css") },
		"no type of content":          func(e *exchange) { e.answer.Header.Del("Content-Type") },
		"POST":                        func(e *exchange) { e.request.Method = http.MethodPost },
		"not found":                   func(e *exchange) { e.answer.StatusCode = http.StatusNotFound },
		"not modified":                func(e *exchange) { e.answer.StatusCode = http.StatusNotModified },
		"part":                        func(e *exchange) { e.answer.StatusCode = http.StatusPartialContent },
		"range asked for":             func(e *exchange) { e.request.Header.Set("Range", "bytes=0-9") },
		"cookie":                      func(e *exchange) { e.answer.Header.Set("Set-Cookie", "a=b") },
		"by user agent":               func(e *exchange) { e.answer.Header.Set("Vary", "Origin, User-Agent") },
		"by anything":                 func(e *exchange) { e.answer.Header.Set("Vary", "*") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := newExchange(text)
			change(&e)
			before := e.answer.Header.Clone()
			if got := e.through(t, NewCache(0)); got != text {
				t.Errorf("the body has changed to %d bytes", len(got))
			}
			if diff := cmp.Diff(before, e.answer.Header); diff != "" {
				t.Errorf("the header has changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestNamesWithHashAreKept(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/assets/index-jmcwmLQ6.js":                       true,
		"/assets/index-DLiUNAg_.css":                      true,
		"/assets/font/Inter-3f2a9c1d.woff2":               true,
		"/assets/main.1a2b3c4d5e6f.js":                    true,
		"/assets/github-light-high-contrast-C1JqGgtE.svg": true,
		"/assets/index.js":                                false,
		"/assets/my-component.js":                         false,
		"/assets/a-long-name-of-words.css":                false,
		"/assets/index-jmcwmL.js":                         false,
		"/assets/index-jmcwmLQ6.min.js":                   false,
	} {
		e := newExchange(text)
		e.request.Path = path
		for _, k := range []string{".js", ".css", ".woff2", ".svg"} {
			if strings.HasSuffix(path, k) {
				e.answer.Header.Set("Content-Type", kinds[k].types[len(kinds[k].types)-1])
			}
		}
		e.through(t, NewCache(0))
		got := e.answer.Header.Get("Cache-Control")
		if want && got != "private, max-age=31536000, immutable" || !want && got != "private, no-cache" {
			t.Errorf("%s: got Cache-Control %q, want to keep it unseen: %v", path, got, want)
		}
	}
}

func TestAssetsThatAreNotKept(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(e *exchange){
		"query":                 func(e *exchange) { e.request.Query = true },
		"service worker":        func(e *exchange) { e.request.Header.Set("Sec-Fetch-Dest", "serviceworker") },
		"older service worker":  func(e *exchange) { e.request.Header.Set("Service-Worker", "script") },
		"worker":                func(e *exchange) { e.request.Header.Set("Sec-Fetch-Dest", "worker") },
		"the server has a rule": func(e *exchange) { e.answer.Header.Set("Cache-Control", "no-store") },
		"the server has a date": func(e *exchange) { e.answer.Header.Set("Expires", "0") },
	} {
		e := newExchange(text)
		change(&e)
		want := e.answer.Header.Get("Cache-Control")
		e.through(t, NewCache(0))
		if got := e.answer.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: got Cache-Control %q, want %q", what, got, want)
		}
		if got := e.answer.Header.Get("Content-Encoding"); got != "zstd" {
			t.Errorf("%s: got Content-Encoding %q, want zstd: only keeping is not allowed", what, got)
		}
	}
}

func TestAssetsThatAreNotCompressed(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(e *exchange){
		"compressed by the server": func(e *exchange) { e.answer.Header.Set("Content-Encoding", "br") },
		"digest of these bytes":    func(e *exchange) { e.answer.Header.Set("Content-Digest", "sha-256=:AA==:") },
		"server forbids it":        func(e *exchange) { e.answer.Header.Set("Cache-Control", "public, No-Transform") },
		"length not announced":     func(e *exchange) { e.answer.ContentLength = -1 },
		"compressed format": func(e *exchange) {
			e.request.Path = "/assets/a-jmcwmLQ6.woff2"
			e.answer.Header.Set("Content-Type", "font/woff2")
		},
		"not accepted": func(e *exchange) { e.request.Header.Set("Accept-Encoding", "br") },
	} {
		e := newExchange(text)
		change(&e)
		coding := e.answer.Header.Get("Content-Encoding")
		if got := e.through(t, NewCache(0)); got != text || e.answer.Header.Get("Content-Encoding") != coding {
			t.Errorf("%s: got %d bytes and Content-Encoding %q, want them unchanged", what, len(got), e.answer.Header.Get("Content-Encoding"))
		}
	}
}
