package database_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/test/harness"
)

// relay is a TCP proxy between Berth and its database, with a delay.
type relay struct {
	address string
	delay   atomic.Int64 // nanoseconds, each way
	cut     atomic.Bool  // nothing passes, and what is connected is not any more
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	harness.Must(t, err)
	r := &relay{address: l.Addr().String()}
	var wg sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.pass(conn, to, done) })
		}
	})
	return r
}

func (r *relay) pass(client net.Conn, to string, done <-chan struct{}) {
	if r.cut.Load() {
		_ = client.Close()
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		_ = client.Close()
		return
	}
	var wg sync.WaitGroup
	hang := func() { _ = client.Close(); _ = server.Close() }
	wg.Go(func() { defer hang(); r.copy(server, client, done) })
	wg.Go(func() { defer hang(); r.copy(client, server, done) })
	wg.Wait()
}

func (r *relay) copy(to io.Writer, from io.Reader, done <-chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case <-time.After(time.Duration(r.delay.Load())):
			case <-done:
				return
			}
			if r.cut.Load() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
