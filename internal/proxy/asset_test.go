package proxy

import (
	"bufio"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script is the content of a static file, and scriptServer a server that has it.
var script = strings.Repeat("export const answer = 42;\n", 400)

func scriptServer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript")
	h.Set("Vary", "Origin")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(script))
}

func TestAssetIsCompressedAndKeptByTheBrowser(t *testing.T) {
	t.Parallel()
	w := setup(t, scriptServer)
	r := w.request(t, http.MethodGet, "/assets/index-jmcwmLQ6.js", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	got := w.do(t, r)
	for name, want := range map[string]string{
		"Content-Encoding": "gzip", "Content-Length": strconv.Itoa(len(got.body)), "Cache-Control": "private, max-age=31536000, immutable",
	} {
		if got.header.Get(name) != want {
			t.Errorf("got %s %q, want %q", name, got.header.Get(name), want)
		}
	}
	reader, err := gzip.NewReader(strings.NewReader(got.body))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(reader); err != nil || string(text) != script {
		t.Errorf("got %d bytes and error %v, want the script", len(text), err)
	}
}

func TestOnlyAssetsAreChanged(t *testing.T) {
	t.Parallel()
	w := setup(t, scriptServer)
	for _, path := range []string{"/index-jmcwmLQ6.js", "/file/assets/index-jmcwmLQ6.js", "/assets/..%2findex-jmcwmLQ6.js"} {
		r := w.request(t, http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		got := w.do(t, r)
		if got.body != script || got.header.Get("Content-Encoding") != "" || got.header.Get("Cache-Control") != "" {
			t.Errorf("%s: got %d bytes and %v", path, len(got.body), got.header)
		}
	}
	r := w.request(t, http.MethodGet, "/assets/index-jmcwmLQ6.js", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	r.Header.Set("Range", "bytes=7-11")
	if got := w.do(t, r); got.status != http.StatusPartialContent || got.body != script[7:12] {
		t.Errorf("range: got %d %q", got.status, got.body)
	}
}

// A server that ends in the middle of a file has not sent it: the client must not keep the part for the whole.
func TestAssetCutOffIsNotComplete(t *testing.T) {
	t.Parallel()
	w := newScripted(t, func(conn net.Conn, _ *bufio.Reader, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/javascript\r\nContent-Length: 10000\r\n\r\n"+script[:5000])
	}).front(t)
	r := w.request(t, http.MethodGet, "/assets/index-jmcwmLQ6.js", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	if got := w.do(t, r); got.status != http.StatusBadGateway || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d and Cache-Control %q, want 502 and no-store", got.status, got.header.Get("Cache-Control"))
	}
}
