package guard

import "sync"

// calls counts requests in progress, taken-over connections included, so that stopping can wait for them.
type calls struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{}
}

func newCalls() *calls { return &calls{idle: make(chan struct{})} }

// enter answers false once the count was closed: the request must not begin.
func (c *calls) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

func (c *calls) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.closed && c.n == 0 {
		close(c.idle)
	}
}

// close lets nothing more in; the channel that it answers is closed when the last call has left.
func (c *calls) close() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		if c.n == 0 {
			close(c.idle)
		}
	}
	return c.idle
}
