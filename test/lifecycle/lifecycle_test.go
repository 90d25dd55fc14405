package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

func TestSupervisorNotifications(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	b := w.start("WATCHDOG_USEC=1000000")
	w.waitForNotification("READY=1\nSTATUS=serving on " + w.address)
	w.waitForNotification("WATCHDOG=1")
	harness.Must(t, b.cmd.Process.Signal(syscall.SIGHUP))
	w.waitForNotification("RELOADING=1\nMONOTONIC_USEC=")
	w.waitForNotification("READY=1")
	w.waitForNotification("WATCHDOG=1")
	harness.Must(t, b.cmd.Process.Signal(syscall.SIGTERM))
	w.waitForNotification("STOPPING=1")
	<-b.done
	if code := b.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A hung process sends no watchdog notification.
func TestHungProcessSendsNoWatchdog(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	b := w.start("WATCHDOG_USEC=1000000")
	w.waitForNotification("WATCHDOG=1")
	harness.Freeze(t, b.cmd.Process)
	harness.Must(t, w.notifications.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	for buf := make([]byte, 4096); ; { // earlier notifications
		if _, err := w.notifications.Read(buf); err != nil {
			break
		}
	}
	harness.Must(t, w.notifications.SetReadDeadline(time.Now().Add(1500*time.Millisecond)))
	if n, err := w.notifications.Read(make([]byte, 4096)); err == nil {
		t.Errorf("received %d bytes from a frozen process", n)
	}
	harness.Must(t, b.cmd.Process.Signal(syscall.SIGCONT))
	w.waitForNotification("WATCHDOG=1")
}

func TestReloadAppliesChangeableSettingsAndNamesOthers(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	b := w.start()
	w.waitForNotification("READY=1")
	limit := func() any {
		t.Helper()
		status, health, err := w.call(t.Context(), http.DefaultClient, http.MethodGet, "/health", w.admin())
		if err != nil || status != http.StatusOK {
			t.Fatalf("health: got %d, %v", status, err)
		}
		limits, _ := health["resource_limits"].(map[string]any)
		return limits["max_concurrent_sessions"]
	}
	reload := func() { harness.Must(t, b.cmd.Process.Signal(syscall.SIGHUP)) }

	w.configure(map[string]any{
		"log": map[string]any{"level": "DEBUG"}, "limits": map[string]any{"max_sessions": 1, "critical": 1.0, "cpu_warning": 0.5},
		"proxy": map[string]any{"max_body_size": "1m"},
	})
	reload()
	w.logged(b, "configuration reloaded", "MAX_CONCURRENT_SESSIONS CPU_WARNING_THRESHOLD LOG_LEVEL")
	w.logged(b, "need a restart", `"PROXY_MAX_BODY_SIZE"`)
	if got := limit(); got != 1.0 {
		t.Errorf("the limit is %v after the reload, want 1", got)
	}
	w.create()
	w.logged(b, `"level":"DEBUG"`, "engine called")
	if status, problem, err := w.call(t.Context(), http.DefaultClient, http.MethodPost, "/sessions", w.admin()); err != nil || status != http.StatusTooManyRequests {
		t.Errorf("create above the new limit: got %d %v, %v; want 429", status, problem, err)
	}

	w.configure(map[string]any{"limits": map[string]any{"max_sessions": 5, "critical": 1.0}, "log": map[string]any{"level": "LOUD"}})
	reload()
	w.logged(b, "configuration reload failed", "must be DEBUG")
	if got := limit(); got != 1.0 {
		t.Errorf("the limit is %v after an invalid reload, want it unchanged", got)
	}
}

func TestUnusableActivatedSocketsAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	b := w.start("LISTEN_FDS=2")
	<-b.done
	w.logged(b, "2 sockets")
}

// Berth is restarted several times under load while its socket stays open. No connection is refused and no request fails.
func TestSocketActivationRestartRefusesNoConnection(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	b := w.start()
	w.waitForNotification("READY=1")
	id, token := w.create()
	admin := w.admin()

	var requests, restarts atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			// Half of them open a connection for each request, because the first request on a connection is most likely to fail.
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%4 < 2}, Timeout: 30 * time.Second}
			defer client.CloseIdleConnections()
			method, path, shown := http.MethodPost, "/s/"+id+"/session", token // which no client retries by itself
			if i%2 == 0 {
				method, path, shown = http.MethodGet, "/sessions/"+id, admin
			}
			for ctx.Err() == nil {
				status, _, err := w.call(context.WithoutCancel(ctx), client, method, path, shown)
				requests.Add(1)
				if err != nil || status != http.StatusOK {
					t.Errorf("request %d (%s %s), after %d restarts: got %d, %v", requests.Load(), method, path, restarts.Load(), status, err)
					return
				}
			}
		})
	}
	for range 4 {
		at := requests.Load()
		harness.Eventually(t, 20*time.Second, "requests are answered", func() error {
			if requests.Load() < at+500 {
				return errors.New("too few so far")
			}
			return nil
		})
		b.end(syscall.SIGTERM)
		restarts.Add(1)
		b = w.start()
	}
	w.waitForNotification("READY=1")
	stop()
	clients.Wait()
	t.Logf("%d requests over %d restarts", requests.Load(), restarts.Load())
}

// Event streams end when Berth stops, and their clients receive the end.
func TestStreamsEndAtShutdown(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	b := w.start()
	w.waitForNotification("READY=1")
	id, token := w.create()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.address)
	harness.Must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("GET /s/" + id + "/event HTTP/1.1\r\nHost: berth\r\nAuthorization: Bearer " + token + "\r\nAccept: text/event-stream\r\n\r\n"))
	harness.Must(t, err)
	lines := bufio.NewReader(conn)
	for line := ""; !strings.HasPrefix(line, "data:"); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	harness.Must(t, b.cmd.Process.Signal(syscall.SIGTERM))
	for err == nil {
		_, err = lines.ReadString('\n')
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the stream ended after %v, want at once: nothing else was in flight", took)
	}
	<-b.done
}
