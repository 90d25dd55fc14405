package proxy

import (
	"io"
	"net/http"
	"sync"

	"berth/internal/proxy/policy"
)

// takeBody wraps the request's body, if it has one, and limits a body without a declared length.
func (c *call) takeBody(limit int64) {
	body := c.in.Body
	if body == nil || body == http.NoBody {
		return
	}
	if c.in.ContentLength < 0 {
		body = http.MaxBytesReader(c.w.ResponseWriter, body, limit)
	}
	c.body = &clientBody{ReadCloser: body}
}

// bodyUnread reports whether the request has a body that has not been read to its end.
func (c *call) bodyUnread() bool { return c.body != nil && !c.body.complete() }

// replayable is the number of bytes of a body that are kept until the first byte of the request has been written: twice the
// transport's write buffer (4 KiB).
const replayable = 8 << 10

// clientBody streams a request body. It keeps the first bytes, so that a request of which nothing was written because its
// pooled connection had been closed can be sent again, and the error if reading from the client failed.
type clientBody struct {
	io.ReadCloser

	mu    sync.Mutex
	head  []byte
	lost  bool         // more than head has been read
	ended bool         // all of it has been read
	read  int64        // bytes
	fault error        // why reading failed, other than at its end
	timer *headerTimer // started when all of the body has been read; nil: none is

	trailer, forwarded http.Header // the client's trailer section, and the part of it that goes to the server
}

// Read implements [io.Reader]. A finished body is not read again: the transport reads once more after writing all of it,
// when the response may have started already, upon which net/http closes the body. The error of such a read would close the
// connection and truncate the response.
func (b *clientBody) Read(p []byte) (int, error) {
	if b.complete() {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += int64(n)
	if len(b.head)+n <= replayable && !b.lost {
		b.head = append(b.head, p[:n]...)
	} else {
		b.head, b.lost = nil, true
	}
	switch {
	case err == io.EOF:
		b.ended = true
		for name := range b.forwarded {
			b.forwarded[name] = b.trailer[name]
		}
		if b.timer != nil {
			b.timer.start()
		}
	case err != nil:
		b.fault = err
	}
	return n, err
}

// startAtEnd starts the timer when all of the body has been read.
func (b *clientBody) startAtEnd(timer *headerTimer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = timer
}

// forwardTrailer returns the trailer section for the server: the announced fields that are allowed in one. Its values are set
// once all of the body has been read. nil: there is none.
func (b *clientBody) forwardTrailer(announced http.Header) http.Header {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trailer, b.forwarded = announced, nil
	for name := range announced {
		if policy.MayTrail(name) {
			if b.forwarded == nil {
				b.forwarded = http.Header{}
			}
			b.forwarded[name] = nil
		}
	}
	return b.forwarded
}

// complete reports whether all of the body has been read.
func (b *clientBody) complete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// size returns the number of bytes read.
func (b *clientBody) size() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// err returns why the client's body could not be read, nil if it could.
func (b *clientBody) err() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault
}

// again is the request's GetBody: the body from its beginning. The transport calls it only when it has stopped reading
// the body, and, with methods that have a body, only when nothing was written.
func (b *clientBody) again() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost {
		return nil, errBodyNotReplayable
	}
	return &rewound{head: b.head, rest: b}, nil
}

// rewound reads the kept bytes and then the rest.
type rewound struct {
	head []byte
	rest *clientBody
}

func (r *rewound) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.rest.Read(p)
}

// Close does nothing: net/http closes the body when the handler has returned. Closing it earlier would wait for the rest of
// it.
func (*rewound) Close() error { return nil }
