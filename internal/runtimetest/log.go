package runtimetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
)

// logBuffer is what a container's server has written, in every run.
type logBuffer struct {
	mu      sync.Mutex
	text    []byte
	live    bool          // the container runs, so that more may come
	changed chan struct{} // closed and replaced at each change
}

func newLog() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

func (l *logBuffer) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *logBuffer) setLive(live bool) { l.change(func() { l.live = live }) }

func (l *logBuffer) printf(format string, args ...any) {
	l.change(func() { l.text = fmt.Appendf(l.text, format+"\n", args...) })
}

// open returns a reader that starts this many lines before the end; 0: at the first line.
func (l *logBuffer) open(ctx context.Context, tail int, follow bool) io.ReadCloser {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := 0
	if tail > 0 {
		at = lastLines(l.text, tail)
	}
	ctx, stop := context.WithCancel(ctx)
	return &logReader{log: l, at: at, follow: follow, ctx: ctx, stop: stop}
}

// lastLines returns where the last n lines of text begin.
func lastLines(text []byte, n int) int {
	text = bytes.TrimSuffix(text, []byte("\n"))
	end := len(text)
	for range n {
		if end = bytes.LastIndexByte(text[:end], '\n'); end < 0 {
			return 0
		}
	}
	return end + 1
}

type logReader struct {
	log    *logBuffer
	at     int
	follow bool
	ctx    context.Context //nolint:containedctx // an io.Reader has no other way to observe a cancellation
	stop   context.CancelFunc
}

func (r *logReader) Read(p []byte) (int, error) {
	for {
		r.log.mu.Lock()
		n := copy(p, r.log.text[r.at:])
		more, changed := r.follow && r.log.live, r.log.changed
		r.log.mu.Unlock()
		r.at += n
		switch {
		case n > 0 || len(p) == 0:
			return n, nil
		case r.ctx.Err() != nil:
			return 0, context.Cause(r.ctx)
		case !more:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
		}
	}
}

func (r *logReader) Close() error {
	r.stop()
	return nil
}
