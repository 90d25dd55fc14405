package sessionport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/session"
)

// fakeNet is a network whose ports open and close in memory.
type fakeNet struct {
	mu    sync.Mutex
	taken map[string]bool
}

type fakeListener struct {
	of      *fakeNet
	address string
	closed  chan struct{}
	once    sync.Once
}

func (n *fakeNet) listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.taken[address] {
		return nil, errors.New("address already in use")
	}
	n.taken[address] = true
	return &fakeListener{of: n, address: address, closed: make(chan struct{})}, nil
}

func (n *fakeNet) isOpen(port uint16) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.taken["127.0.0.1:"+strconv.Itoa(int(port))]
}

func (l *fakeListener) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }
func (l *fakeListener) Addr() net.Addr            { return nil }
func (l *fakeListener) Close() error {
	l.once.Do(func() {
		l.of.mu.Lock()
		defer l.of.mu.Unlock()
		delete(l.of.taken, l.address)
		close(l.closed)
	})
	return nil
}

func options(t *testing.T, n *fakeNet, last uint16) Options {
	t.Helper()
	return Options{
		First: 20000, Last: last, Host: "127.0.0.1", File: filepath.Join(t.TempDir(), "session-ports"), Logger: slog.New(slog.DiscardHandler), Listen: n.listen,
	}
}

// running runs ports until the test ends, or stop is called.
func running(t *testing.T, o Options) (p *Ports, stop func()) {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Run(ctx, func(l net.Listener) { _, _ = l.Accept() })
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return p, stop
}

func TestPortIsOpenWhileItsSessionCanBeReached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{taken: map[string]bool{}}
		p, stop := running(t, options(t, n, 20009))
		p.Set(session.Route{ID: "ses-a", Running: true})
		synctest.Wait()
		port := p.Of("ses-a")
		if id, ours := p.At(port); id != "ses-a" || !ours || !n.isOpen(port) {
			t.Fatalf("port %d: got %s, %v, open %v", port, id, ours, n.isOpen(port))
		}
		p.Set(session.Route{ID: "ses-a"})
		synctest.Wait()
		if n.isOpen(port) || p.Of("ses-a") != port {
			t.Error("the port of a stopped session is open, or is no longer its own")
		}
		p.Set(session.Route{ID: "ses-a", Wakes: true})
		synctest.Wait()
		if !n.isOpen(port) {
			t.Error("the port of a session that requests wake is closed")
		}
		p.Remove("ses-a")
		synctest.Wait()
		if id, ours := p.At(port); id != "" || !ours || n.isOpen(port) || p.Of("ses-a") != 0 {
			t.Errorf("after the delete: got %s, %v, open %v", id, ours, n.isOpen(port))
		}
		if _, ours := p.At(8080); ours {
			t.Error("a port outside the range is taken for a session's")
		}
		stop()
	})
}

// A port is an origin: what a session's pages have left in a browser must not meet another session while other ports are left.
func TestPortGoesToAnotherSessionLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{taken: map[string]bool{}}
		o := options(t, n, 20002)
		p, stop := running(t, o)
		had := map[uint16]session.ID{}
		for _, id := range []session.ID{"ses-a", "ses-b", "ses-c"} {
			p.Set(session.Route{ID: id, Running: true})
			synctest.Wait()
			if before, again := had[p.Of(id)]; again || p.Of(id) == 0 {
				t.Fatalf("%s has the port of %s", id, before)
			}
			had[p.Of(id)] = id
			if id != "ses-c" {
				p.Remove(id)
				<-time.After(time.Hour)
			}
		}
		synctest.Wait()
		stop()

		p, stop = running(t, o) // another process
		p.Set(session.Route{ID: "ses-c", Running: true})
		p.Set(session.Route{ID: "ses-d", Running: true})
		synctest.Wait()
		if had[p.Of("ses-c")] != "ses-c" || had[p.Of("ses-d")] != "ses-a" {
			t.Errorf("ses-c has that of %s and ses-d that of %s, want its own and the one released first", had[p.Of("ses-c")], had[p.Of("ses-d")])
		}
		p.Set(session.Route{ID: "ses-e", Running: true})
		p.Set(session.Route{ID: "ses-f", Running: true})
		synctest.Wait()
		if had[p.Of("ses-e")] != "ses-b" || p.Of("ses-f") != 0 {
			t.Errorf("ses-e has that of %s, ses-f %d: want the last one, and none", had[p.Of("ses-e")], p.Of("ses-f"))
		}
		p.Remove("ses-e")
		synctest.Wait()
		<-time.After(2 * retryAfter)
		if p.Of("ses-f") == 0 {
			t.Error("a session that found no port gets none when there is one")
		}
		stop()
	})
}

func TestPortOfAnotherProgramIsAvoided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{taken: map[string]bool{"127.0.0.1:20000": true, "127.0.0.1:20002": true}}
		p, stop := running(t, options(t, n, 20002))
		p.Set(session.Route{ID: "ses-a", Running: true})
		synctest.Wait()
		if p.Of("ses-a") != 20001 || !n.isOpen(20001) {
			t.Errorf("got port %d", p.Of("ses-a"))
		}
		stop()
	})
}

// A port that is not written down could be another session's after a crash.
func TestNothingIsOpenedThatIsNotWrittenDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{taken: map[string]bool{}}
		o := options(t, n, 20002)
		o.File = filepath.Join(o.File, "missing", "session-ports")
		p, stop := running(t, o)
		p.Set(session.Route{ID: "ses-a", Running: true})
		synctest.Wait()
		if n.isOpen(p.Of("ses-a")) {
			t.Error("the port is open")
		}
		if err := os.MkdirAll(filepath.Dir(o.File), 0o700); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * retryAfter)
		synctest.Wait()
		if !n.isOpen(p.Of("ses-a")) {
			t.Error("the port is closed although it can be written down")
		}
		stop()
	})
}

func TestDamagedFileIsAnError(t *testing.T) {
	t.Parallel()
	o := options(t, &fakeNet{}, 20002)
	if err := os.WriteFile(o.File, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "ports") {
		t.Errorf("got %v, want an error", err)
	}
}
