package runtimetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// server is one run of a container's HTTP server. A zero http field is a run without one.
type server struct {
	address  string
	started  time.Time
	http     *http.Server
	cancel   context.CancelFunc
	handlers sync.WaitGroup
	serving  chan struct{} // closed when Serve has returned

	mu      sync.Mutex
	conns   int  // connections so far
	closing bool // no handler may begin
}

// connKey is the context key of a connection's number, from 1.
type connKey struct{}

// serve starts a run of a container's server. Call it with the lock held.
func (f *Fake) serve(c *container, b Behaviour) (*server, error) {
	s := &server{started: time.Now()}
	if f.opts.NoServers {
		f.nextPort++
		s.address = fmt.Sprintf("127.0.0.1:%d", f.nextPort)
		return s, nil
	}
	at := "127.0.0.1:0"
	if f.samePort != 0 {
		f.nextHost++
		at = fmt.Sprintf("127.0.1.%d:%d", f.nextHost, f.samePort)
	}
	listener, err := f.listen(at)
	if err != nil {
		return nil, err
	}
	s.address = listener.Addr().String()
	if b.Exits || b.Closed {
		return s, listener.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.serving = make(chan struct{})
	handler := &handler{fake: f, container: c, server: s, spec: c.spec, volumes: f.volumes[c.info.Name]}
	s.http = &http.Server{
		Handler:           s.tracked(handler),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.conns++
			return context.WithValue(ctx, connKey{}, s.conns)
		},
	}
	go func() {
		defer close(s.serving)
		_ = s.http.Serve(listener) // ends with close
	}()
	return s, nil
}

func (f *Fake) listen(at string) (net.Listener, error) {
	if f.opts.Network != nil {
		return f.opts.Network.Listen(at)
	}
	return net.Listen("tcp", at)
}

// tracked lets close wait for handlers, including those that have hijacked their connection.
func (s *server) tracked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		closing := s.closing
		if !closing {
			s.handlers.Add(1)
		}
		s.mu.Unlock()
		if closing {
			return
		}
		defer s.handlers.Done()
		next.ServeHTTP(w, r)
	})
}

// close closes every connection, as the end of a process does, and waits until all handlers have returned.
func (s *server) close() {
	if s == nil || s.http == nil {
		return
	}
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel()
	_ = s.http.Close()
	<-s.serving
	s.handlers.Wait()
}
