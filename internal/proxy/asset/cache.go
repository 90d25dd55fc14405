package asset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"berth/internal/session"
)

const (
	// DefaultSize is how many bytes of compressed files a [Cache] keeps unless it is told otherwise: 64 MiB. OpenCode's web
	// interface needs about one for each version and coding.
	DefaultSize = 64 << 20

	inUse           = 128 << 20   // bytes that requests in progress hold, beside the store
	inUsePerSession = 2 * maxSize // of these, bytes of one session
	busyWait        = time.Second // how long a request waits for its turn to compress
)

// Cache compresses assets and keeps the results. It is safe for concurrent use.
type Cache struct {
	store    store
	memory   memory
	turns    chan struct{} // has room for as many compressions as run at once
	wait     time.Duration
	flights  singleflight.Group
	compress func(coding string, content []byte) ([]byte, error)
}

// NewCache makes a Cache of so many bytes; 0: [DefaultSize]. It starts nothing.
func NewCache(size int64) *Cache {
	return &Cache{
		store:    store{limit: cmp.Or(size, DefaultSize)},
		memory:   memory{limit: inUse, perSession: inUsePerSession},
		turns:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		wait:     busyWait,
		compress: compress,
	}
}

// Answer changes the answer to a request in place if it is an asset: it compresses its body, as the client accepts, and lets the
// browser keep it, or ask whether its copy is still right. All other answers stay as they are, and an asset stays uncompressed where memory or processors are short. An
// error is that of reading the server's body.
func (c *Cache) Answer(q Request, res *http.Response) error {
	k, ok := of(q, res)
	if !ok {
		return nil
	}
	h := res.Header
	if keepable(q, h) {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	if !compressible(k, h) {
		return nil
	}
	if q.Method == http.MethodHead {
		vary(h)
		if accepted(q.Header["Accept-Encoding"]) != identity { // the length that a GET would have is not known
			recoded(h)
			h.Del("Content-Length")
			res.ContentLength = -1
		}
		return nil
	}
	if res.ContentLength < minSize || res.ContentLength > maxSize {
		return nil
	}
	vary(h)
	coding := accepted(q.Header["Accept-Encoding"])
	if coding == identity || !c.memory.take(q.Session, res.ContentLength) {
		return nil
	}
	return c.replace(q, coding, res)
}

// replace gives an answer another body. The bytes of its length are reserved.
func (c *Cache) replace(q Request, coding string, res *http.Response) error {
	id := q.Session
	content := make([]byte, res.ContentLength)
	if _, err := io.ReadFull(res.Body, content); err != nil {
		c.memory.give(id, res.ContentLength)
		return err
	}
	_ = res.Body.Close() // its connection is free again
	sum := sha256.Sum256(content)
	if taggable(q, res.Header) {
		tag := entityTag(sum)
		res.Header["Etag"], res.Header["Cache-Control"] = []string{tag}, []string{"private, no-cache"}
		if has(q, tag) {
			c.memory.give(id, res.ContentLength)
			notModified(res)
			return nil
		}
	}
	data := c.encoded(key{content: sum, coding: coding}, content)
	if data == nil {
		res.Body = c.body(id, content)
		return nil
	}
	c.memory.give(id, int64(len(content)-len(data)))
	recoded(res.Header)
	res.Header.Set("Content-Encoding", coding)
	res.Header.Set("Content-Length", strconv.Itoa(len(data)))
	res.ContentLength = int64(len(data))
	res.Body = c.body(id, data)
	return nil
}

// encoded returns content in the coding of its key: kept, or compressed now, once for all who want the same at this moment. It returns nil if
// that is not worthwhile or there is too much to compress.
func (c *Cache) encoded(k key, content []byte) []byte {
	if data, ok := c.store.get(k); ok {
		return data
	}
	made, _, _ := c.flights.Do(k.coding+string(k.content[:]), func() (any, error) {
		if data, ok := c.store.get(k); ok {
			return data, nil
		}
		busy := time.NewTimer(c.wait)
		defer busy.Stop()
		select {
		case c.turns <- struct{}{}:
			defer func() { <-c.turns }()
		case <-busy.C:
			return []byte(nil), nil
		}
		data, err := c.compress(k.coding, content)
		if err == nil {
			c.store.put(entry{key: k, data: data})
		}
		return data, err
	})
	data, _ := made.([]byte)
	return data
}

// body returns a body whose bytes stay reserved until it is closed.
func (c *Cache) body(id session.ID, data []byte) io.ReadCloser {
	return &body{Reader: bytes.NewReader(data), close: sync.OnceFunc(func() { c.memory.give(id, int64(len(data))) })}
}

type body struct {
	*bytes.Reader
	close func()
}

func (b *body) Close() error {
	b.close()
	return nil
}
