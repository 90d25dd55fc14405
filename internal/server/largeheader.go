package server

import (
	"errors"
	"sync"
	"sync/atomic"
)

const (
	// usualHeader is how many bytes a connection may receive before a request begins, with those of TLS.
	usualHeader = maxCookies + maxFields
	// largeHeaders is how many connections may receive more at once: as much as [maxHeaderBytes], each.
	largeHeaders = 64
)

var errLargeHeaders = errors.New("too many connections with large headers")

// headerLimit bounds the memory of headers that are being received. Over HTTP/2 a client may leave one unfinished for as long as it
// likes.
type headerLimit struct {
	large atomic.Int64 // connections that receive more than usualHeader
}

// receiving counts what one connection receives while none of its requests has been admitted. Its zero value counts nothing.
type receiving struct {
	limit *headerLimit

	mu       sync.Mutex
	use      *connection // nil before the first request can arrive, and after the end
	received int         // since a request has begun
	counted  bool        // among limit.large
}

// add reports whether the connection may receive n more bytes.
func (r *receiving) add(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit == nil || r.use == nil || r.use.isHeld() {
		return true
	}
	if r.received += n; r.received <= usualHeader || r.counted {
		return true
	}
	if r.limit.large.Add(1) > largeHeaders {
		r.limit.large.Add(-1)
		return false
	}
	r.counted = true
	return true
}

// start begins to count.
func (r *receiving) start(use *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.use = use
}

// restart counts from zero: a request has begun, or has been admitted.
func (r *receiving) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = 0
	if r.counted {
		r.counted = false
		r.limit.large.Add(-1)
	}
}

// end counts nothing any more.
func (r *receiving) end() {
	r.start(nil)
	r.restart()
}
