package asset

import (
	"net/http"
	"testing"
)

func TestNameWithoutHashIsAskedForAgain(t *testing.T) {
	t.Parallel()
	c := NewCache(0)
	ask := func(content, tag, agent string) (exchange, string) {
		e := newExchange(content)
		e.request.Path = "/assets/Inter.css"
		e.answer.Header.Set("Content-Type", "text/css")
		e.request.Header.Set("Accept-Encoding", "zstd")
		e.request.Header.Set("Sec-Fetch-Dest", agent)
		if tag != "" {
			e.request.Header.Set("If-None-Match", `"other", `+tag)
		}
		return e, e.through(t, c)
	}
	first, _ := ask(text, "", "style")
	tag := first.answer.Header.Get("Etag")
	if got := first.answer.Header.Get("Cache-Control"); tag == "" || got != "private, no-cache" {
		t.Fatalf("got the tag %q and Cache-Control %q, want a tag, and to be asked each time", tag, got)
	}
	same, data := ask(text, tag, "style")
	if h := same.answer.Header; same.answer.StatusCode != http.StatusNotModified || data != "" || h.Get("Etag") != tag || h.Get("Content-Length") != "" || h.Get("Content-Encoding") != "" {
		t.Errorf("the same content: got %d, %d bytes and %v, want 304 and nothing", same.answer.StatusCode, len(data), h)
	}
	other, data := ask("/* new */"+text, tag, "style")
	if other.answer.StatusCode != http.StatusOK || data == "" || other.answer.Header.Get("Etag") == tag {
		t.Errorf("other content: got %d with the tag %s", other.answer.StatusCode, other.answer.Header.Get("Etag"))
	}
	if worker, _ := ask(text, tag, "worker"); worker.answer.StatusCode != http.StatusOK || worker.answer.Header.Get("Etag") != "" {
		t.Errorf("a worker's: got %d %v, want it without a tag", worker.answer.StatusCode, worker.answer.Header)
	}
	if c.memory.used != 0 {
		t.Errorf("%d bytes are still reserved", c.memory.used)
	}
}

func TestServersOwnValidatorStays(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"Etag": `W/"v1"`, "Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT", "Cache-Control": "max-age=5"} {
		e := newExchange(text)
		e.request.Path = "/assets/plain.js"
		e.request.Header.Set("Accept-Encoding", "zstd")
		e.answer.Header.Set(name, value)
		e.through(t, NewCache(0))
		h := e.answer.Header
		if h.Get(name) != value || name != "Etag" && h.Get("Etag") != "" || name != "Cache-Control" && h.Get("Cache-Control") != "" {
			t.Errorf("%s: got %v", name, h)
		}
	}
}
