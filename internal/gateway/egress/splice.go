package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	spliceChunk = 4 << 20          // bytes after which the counters are updated
	idleTick    = 30 * time.Second // how often an idle direction looks whether the other one is idle too
	halfIdle    = 10 * time.Minute // idle time of a connection of which one direction has ended
)

// halfCloser is a connection of which the writing side can be closed alone.
type halfCloser interface{ CloseWrite() error }

// splice copies between a session's connection and its target until both directions have ended, the stream is ended, or neither has
// moved a byte for the idle time. It closes both. Each end of file is passed on by itself, and what one side has still to read when
// the other has gone is delivered.
//
// It copies with io.CopyN, so that between two TCP connections the kernel moves the bytes (splice on Linux), without a buffer here.
func (r *Relay) splice(st *stream, client, target net.Conn) {
	ctx, cancel := context.WithCancel(st.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		client.Close()
		target.Close()
	})
	defer stop()
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var half atomic.Bool
	idle := func() bool {
		limit := r.limits.Idle
		if half.Load() {
			limit = min(limit, halfIdle)
		}
		return time.Since(time.Unix(0, last.Load())) >= limit
	}
	tick := min(idleTick, r.limits.Idle/4)

	var both sync.WaitGroup
	copyTo := func(to, from net.Conn, moved *atomic.Uint64) {
		for {
			// A deadline that passes while bytes wait to be written cannot lose any: it is that of reading.
			if from.SetReadDeadline(time.Now().Add(tick)) != nil {
				break
			}
			n, err := io.CopyN(to, from, spliceChunk)
			if n > 0 {
				moved.Add(uint64(n))
				last.Store(time.Now().UnixNano())
			}
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) && !idle() {
				continue
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				cancel() // nothing has moved in either direction
			}
			break
		}
		// What was written must arrive even if the other side has closed, so only this direction ends.
		closeWrite(to)
		half.Store(true)
	}
	both.Go(func() { copyTo(target, client, &r.stats.sent) })
	copyTo(client, target, &r.stats.received)
	if ctx.Err() == nil {
		// The target has said everything. The client may go on sending, as far as the target reads.
		both.Wait()
		drain(ctx, client)
	}
	cancel()
	both.Wait()
	client.Close()
	target.Close()
}

// closeWrite ends the writing side of a connection, or of the one that it wraps.
func closeWrite(conn net.Conn) {
	switch c := conn.(type) {
	case halfCloser:
		_ = c.CloseWrite()
	case *buffered:
		closeWrite(c.Conn)
	case *notedConn:
		closeWrite(c.Conn)
	}
}

// drain reads what a client still sends, for a short time, after the writing side was closed. To close a connection with unread bytes
// resets it, and the client would lose the end of what it was sent.
func drain(ctx context.Context, conn net.Conn) {
	if ctx.Err() != nil || conn.SetReadDeadline(time.Now().Add(drainTimeout)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, 1<<20)
}
