package docker_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"berth/internal/docker"
	"berth/internal/session"
)

// TestRenewedRuntimeUsesNoOldConnection keeps a request in flight and a connection idle while the runtime is renewed.
func TestRenewedRuntimeUsesNoOldConnection(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	var mu sync.Mutex
	var used []string // remote addresses, in the order of the requests
	note := func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		used = append(used, r.RemoteAddr)
	}
	arrived, finish := make(chan struct{}), make(chan struct{})
	e.on("GET /containers/json", func(w http.ResponseWriter, r *http.Request) {
		note(r)
		arrived <- struct{}{}
		<-finish
		_, _ = io.WriteString(w, "[]")
	})
	front := httptest.NewUnstartedServer(e)
	closed := make(chan string, 8)
	front.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- conn.RemoteAddr().String()
		}
	}
	front.Start()
	t.Cleanup(front.Close)
	r := e.open(func(o *docker.Options) { o.Host = "tcp://" + front.Listener.Addr().String() })

	slow := make(chan error, 1)
	go func() {
		_, err := r.List(t.Context())
		slow <- err
	}()
	<-arrived
	r.Renew()
	close(finish)
	if err := <-slow; err != nil {
		t.Errorf("the request in flight: %v, want its answer", err)
	}
	go func() {
		_, err := r.List(t.Context())
		slow <- err
	}()
	<-arrived
	if err := <-slow; err != nil {
		t.Errorf("the next request: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(used) != 2 || used[0] == used[1] {
		t.Fatalf("requests came over %v, want two connections", used)
	}
	for range 2 {
		if got := <-closed; got == used[1] {
			t.Errorf("the new connection was closed, want the old ones, busy and idle")
		} else if got == used[0] {
			return
		}
	}
	t.Error("the connection of the request that was in flight is kept")
}

func TestRenewEndsWatch(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.on("GET /events", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	r := e.open(nil)
	err := r.Watch(t.Context(), r.Renew, func(session.RuntimeEvent) {})
	wantCode(t, err, session.CodeEngineUnavailable, "the caller has to watch again")
}
