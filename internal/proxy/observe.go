package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Observation describes a finished request.
type Observation struct {
	Status   int           // of the response; 499: the client closed the request before
	Duration time.Duration // from its arrival to its last byte
	Received int64         // bytes of the body that came from the client, or the client's bytes of a WebSocket
	Sent     int64         // bytes of the body that went to the client, or the server's bytes of a WebSocket
	Stream   bool          // an event stream or a WebSocket
}

// Load is the present load of the proxy.
type Load struct {
	Requests    int   // being served, without streams
	Streams     int   // event streams and WebSockets
	Waiting     int64 // of the requests, those that wait because their session has MaxConnections already
	Connections int64 // open to the sessions' servers, idle ones included
	Dialed      int64 // connections made since the proxy was created
}

// Load may be called at any time.
func (p *Proxy) Load() Load {
	all, streams := p.inFlight.Count()
	return Load{
		Requests: all - streams, Streams: streams,
		Waiting: p.connections.waiting.Load(), Connections: p.connections.open.Load(),
		Dialed: p.connections.made.Load(),
	}
}

// connectionCount counts connections to the sessions' servers, and the requests that wait for one.
type connectionCount struct{ open, made, waiting atomic.Int64 }

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// tracked counts the connections of dial, and calls failed when dial fails, unless the request was canceled.
func (c *connectionCount) tracked(dial dialFunc, failed func()) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			if failed != nil && !errors.Is(ctx.Err(), context.Canceled) {
				failed()
			}
			return nil, err
		}
		c.made.Add(1)
		c.open.Add(1)
		return &trackedConn{Conn: conn, closed: sync.OnceFunc(func() { c.open.Add(-1) })}, nil
	}
}

type trackedConn struct {
	net.Conn
	closed func()
}

// CloseWrite is for WebSockets of which the client has closed its half.
func (c *trackedConn) CloseWrite() error { return closeWrite(c.Conn) }

func (c *trackedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
