package asset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"berth/internal/session"
)

func decoded(t *testing.T, coding, data string) string {
	t.Helper()
	var r io.Reader
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(strings.NewReader(data))
	case "zstd": // with the memory that browsers have for it
		var d *zstd.Decoder
		d, err = zstd.NewReader(strings.NewReader(data), zstd.WithDecoderMaxWindow(maxSize), zstd.WithDecoderConcurrency(1))
		if err == nil {
			defer d.Close()
			r = d
		}
	default:
		return data
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// counted returns a cache, and the number of its compressions.
func counted() (*Cache, *atomic.Int32) {
	c, n := NewCache(0), new(atomic.Int32)
	c.compress = func(coding string, content []byte) ([]byte, error) {
		n.Add(1)
		return compress(coding, content)
	}
	return c, n
}

func TestAssetIsCompressedAsAccepted(t *testing.T) {
	t.Parallel()
	c := NewCache(0)
	for _, coding := range []string{"gzip", "zstd", ""} {
		e := newExchange(text)
		e.request.Header.Set("Accept-Encoding", coding)
		e.answer.Header.Set("Etag", `"v1"`)
		e.answer.Header.Set("Accept-Ranges", "bytes")
		data := e.through(t, c)
		if got := decoded(t, coding, data); got != text {
			t.Errorf("%q: got %d other bytes", coding, len(got))
		}
		h := e.answer.Header
		if h.Get("Content-Encoding") != coding || coding != "" && len(data) > len(text)/10 {
			t.Errorf("%q: got Content-Encoding %q and %d of %d bytes", coding, h.Get("Content-Encoding"), len(data), len(text))
		}
		if diff := cmp.Diff([]string{"Origin", "Accept-Encoding"}, h["Vary"]); diff != "" {
			t.Errorf("%q: Vary (-want +got):\n%s", coding, diff)
		}
		tag, ranges := `W/"v1"`, ""
		if coding == "" {
			tag, ranges = `"v1"`, "bytes"
		}
		if h.Get("Etag") != tag || h.Get("Accept-Ranges") != ranges {
			t.Errorf("%q: got ETag %s and Accept-Ranges %q, want %s and %q", coding, h.Get("Etag"), h.Get("Accept-Ranges"), tag, ranges)
		}
	}
}

func TestHeadHasFieldsOfGetWithoutLength(t *testing.T) {
	t.Parallel()
	c, n := counted()
	e := newExchange("")
	e.request.Method = http.MethodHead
	e.answer.ContentLength, e.answer.Body = int64(len(text)), http.NoBody
	e.answer.Header.Set("Etag", `"v1"`)
	e.through(t, c)
	want := http.Header{
		"Cache-Control": {"private, max-age=31536000, immutable"}, "Content-Type": {"text/javascript"},
		"Etag": {`W/"v1"`}, "Vary": {"Origin", "Accept-Encoding"},
	}
	if diff := cmp.Diff(want, e.answer.Header); diff != "" || n.Load() != 0 {
		t.Errorf("%d compressions, header (-want +got):\n%s", n.Load(), diff)
	}
}

func TestSessionsShareWhatHasSameContent(t *testing.T) {
	t.Parallel()
	c, n := counted()
	for i := range 100 {
		e := newExchange(text)
		e.request.Session = session.ID(fmt.Sprint("s", i))
		e.request.Path = fmt.Sprintf("/assets/other-%08d.js", i)
		if got := decoded(t, "zstd", e.through(t, c)); got != text {
			t.Fatal("other content")
		}
	}
	if n.Load() != 1 {
		t.Errorf("compressed %d times, want once", n.Load())
	}
}

func TestSessionGetsOnlyItsOwnServersContent(t *testing.T) {
	t.Parallel()
	c := NewCache(0)
	hostile := newExchange(strings.Repeat("steal();\n", 400))
	hostile.request.Session = "hostile"
	hostile.through(t, c)
	e := newExchange(text) // the same name, and the same validators
	if got := decoded(t, "zstd", e.through(t, c)); got != text {
		t.Errorf("got %.40q, want the content of the session's own server", got)
	}
}

func TestConcurrentRequestsCompressOnce(t *testing.T) {
	t.Parallel()
	c, n := counted()
	entered, release := make(chan struct{}), make(chan struct{})
	inner := c.compress
	c.compress = func(coding string, content []byte) ([]byte, error) {
		close(entered)
		<-release
		return inner(coding, content)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			e := newExchange(text)
			if got := decoded(t, "zstd", e.through(t, c)); got != text {
				t.Error("other content")
			}
		})
	}
	<-entered
	close(release)
	group.Wait()
	if n.Load() != 1 {
		t.Errorf("compressed %d times, want once", n.Load())
	}
}

func TestAssetPassesUncompressedWhenShort(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*Cache){
		"of processors":           func(c *Cache) { c.turns, c.wait = make(chan struct{}), 0 },
		"of memory":               func(c *Cache) { c.memory.limit = int64(len(text)) - 1 },
		"of the session's memory": func(c *Cache) { c.memory.perSession = int64(len(text)) - 1 },
		"of a working encoder": func(c *Cache) {
			c.compress = func(string, []byte) ([]byte, error) { return nil, errors.New("broken") }
		},
	} {
		c := NewCache(0)
		change(c)
		e := newExchange(text)
		if got := e.through(t, c); got != text || e.answer.Header.Get("Content-Encoding") != "" || c.memory.used != 0 {
			t.Errorf("short %s: got %d bytes in coding %q, %d still reserved", what, len(got), e.answer.Header.Get("Content-Encoding"), c.memory.used)
		}
	}
}

func TestContentThatDoesNotShrinkIsTriedOnce(t *testing.T) {
	t.Parallel()
	c, n := counted()
	noise := make([]byte, 64<<10)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(noise)
	for range 3 {
		e := newExchange(string(noise))
		if got := e.through(t, c); got != string(noise) || e.answer.Header.Get("Content-Encoding") != "" {
			t.Errorf("got %d bytes in coding %q, want them unchanged", len(got), e.answer.Header.Get("Content-Encoding"))
		}
	}
	if n.Load() != 1 {
		t.Errorf("compressed %d times, want once", n.Load())
	}
}

func TestMemoryIsReservedUntilBodyIsClosed(t *testing.T) {
	t.Parallel()
	c := NewCache(0)
	e := newExchange(text)
	if err := c.Answer(e.request, e.answer); err != nil {
		t.Fatal(err)
	}
	if c.memory.used != e.answer.ContentLength || e.answer.ContentLength >= int64(len(text)) {
		t.Errorf("%d bytes reserved while %d are sent", c.memory.used, e.answer.ContentLength)
	}
	_ = e.answer.Body.Close()
	_ = e.answer.Body.Close()
	if c.memory.used != 0 || len(c.memory.of) != 0 {
		t.Errorf("%d bytes of %d sessions are still reserved", c.memory.used, len(c.memory.of))
	}
}

func TestBrokenBodyIsAnError(t *testing.T) {
	t.Parallel()
	for what, body := range map[string]io.Reader{
		"too short": strings.NewReader(text[:100]), "broken": iotest.ErrReader(errors.New("reset")),
	} {
		c := NewCache(0)
		e := newExchange(text)
		e.answer.Body = io.NopCloser(body)
		if err := c.Answer(e.request, e.answer); err == nil || c.memory.used != 0 {
			t.Errorf("%s: got error %v and %d bytes reserved, want an error and none", what, err, c.memory.used)
		}
	}
}

func TestStoreIsBounded(t *testing.T) {
	t.Parallel()
	s := store{limit: 4 * (1000 + entryOverhead)}
	at := func(i byte) key { return key{content: [32]byte{i}, coding: "gzip"} }
	for i := range byte(100) {
		s.put(entry{key: at(i), data: bytes.Repeat([]byte{i}, 1000)})
		s.get(at(0)) // is in use all the time
	}
	if s.size != s.limit || len(s.entries) != 4 || s.order.Len() != 4 {
		t.Errorf("%d bytes of %d in %d entries", s.size, s.limit, len(s.entries))
	}
	for _, kept := range []byte{0, 97, 98, 99} {
		if data, ok := s.get(at(kept)); !ok || len(data) != 1000 || data[0] != kept {
			t.Errorf("entry %d is gone", kept)
		}
	}
	s.put(entry{key: at(200), data: make([]byte, s.limit)})
	if _, ok := s.get(at(200)); ok || len(s.entries) != 4 {
		t.Error("an entry that is larger than the store has replaced others")
	}
}
