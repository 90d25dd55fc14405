package docker_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/docker"
	"berth/internal/session"

	"golang.org/x/sync/errgroup"
)

func TestOperationsAreBoundedAndReadsAreNot(t *testing.T) {
	t.Parallel()
	const limit, callers = 3, 12
	e := newFakeEngine(t, "1.41")
	r := e.open(func(o *docker.Options) { o.MaxOperations = limit })
	if _, err := r.Create(t.Context(), unitSpec("one")); err != nil {
		t.Fatalf("create: %v", err)
	}
	var begun, running, most atomic.Int64
	var full sync.WaitGroup
	full.Add(limit)
	release := make(chan struct{})
	e.on("POST /containers/*/start", func(w http.ResponseWriter, _ *http.Request) {
		n := running.Add(1)
		if begun.Add(1) <= limit {
			full.Done()
		}
		for old := most.Load(); old < n && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release
		running.Add(-1)
		w.WriteHeader(http.StatusNoContent)
	})
	var group errgroup.Group
	for range callers {
		group.Go(func() error { return r.Start(t.Context(), "one") })
	}
	full.Wait()
	if _, err := r.Inspect(t.Context(), "one"); err != nil {
		t.Errorf("inspect while all slots are taken: %v; want it to pass", err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantCode(t, r.Remove(impatient, "one", true), session.CodeEngineUnavailable, "no slot came free in the caller's time")
	close(release)
	if err := group.Wait(); err != nil {
		t.Errorf("start: %v", err)
	}
	if got := most.Load(); got != limit {
		t.Errorf("%d operations ran at once, want %d", got, limit)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	var dialled atomic.Int64
	counting := httptest.NewUnstartedServer(e)
	counting.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dialled.Add(1)
		}
	}
	counting.Start()
	t.Cleanup(counting.Close)
	r := e.open(func(o *docker.Options) { o.Host = "tcp://" + counting.Listener.Addr().String() })
	if _, err := r.Create(t.Context(), unitSpec("one")); err != nil {
		t.Fatalf("create: %v", err)
	}
	const workers, rounds = 16, 20
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			for range rounds {
				if _, err := r.Inspect(t.Context(), "one"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("inspect: %v", err)
	}
	if got := dialled.Load(); got > 2*workers {
		t.Errorf("%d connections for %d requests by %d workers, want about one per worker", got, workers*rounds, workers)
	}
}

// Stops of servers that ignore SIGTERM take their whole time-out. Other operations run meanwhile.
func TestWaitingStopsDoNotBlockOtherOperations(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	r := e.open(func(o *docker.Options) { o.MaxOperations = 2 })
	for _, name := range []string{"one", "two"} {
		if _, err := r.Create(t.Context(), unitSpec(name)); err != nil {
			t.Fatalf("create: %v", err)
		}
		e.run(name)
	}
	var waiting sync.WaitGroup
	waiting.Add(2)
	release := make(chan struct{})
	e.on("POST /containers/*/stop", func(w http.ResponseWriter, _ *http.Request) {
		waiting.Done()
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
	var group errgroup.Group
	for _, name := range []string{"one", "two"} {
		group.Go(func() error { return r.Stop(t.Context(), name, time.Minute) })
	}
	waiting.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Remove(ctx, "one", true); err != nil {
		t.Errorf("an operation while two stops wait: %v", err)
	}
	close(release)
	if err := group.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestSequentialOperationsCountStops(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	r := e.open(func(o *docker.Options) { o.Sequential = true })
	if _, err := r.Create(t.Context(), unitSpec("one")); err != nil {
		t.Fatalf("create: %v", err)
	}
	stopping, release := make(chan struct{}), make(chan struct{})
	e.run("one")
	e.on("POST /containers/*/stop", func(w http.ResponseWriter, _ *http.Request) {
		close(stopping)
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
	var group errgroup.Group
	group.Go(func() error { return r.Stop(t.Context(), "one", time.Minute) })
	<-stopping
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantCode(t, r.Remove(ctx, "one", true), session.CodeEngineUnavailable, "one operation at a time")
	close(release)
	if err := group.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// An engine that is stopping answers on open connections.
func TestPingNeedsANewConnection(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	r := e.open(func(o *docker.Options) { o.Host = "tcp://" + server.Listener.Addr().String() })
	if err := r.Ping(t.Context()); err != nil {
		t.Fatalf("ping: %v", err)
	}
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.List(t.Context()); err != nil {
		t.Fatalf("list over a connection that is there: %v", err)
	}
	wantCode(t, r.Ping(t.Context()), session.CodeEngineUnavailable, "no new connection is taken")
}
