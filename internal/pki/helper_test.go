package pki

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// initialized makes a fresh set in a directory of its own.
func initialized(t *testing.T, opts InitOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	result, err := Init(dir, opts)
	if err != nil {
		t.Fatalf("Init: %v", err)
	}
	if result.Outcome != Created {
		t.Fatalf("Init in an empty directory: outcome %q, want %q", result.Outcome, Created)
	}
	return dir
}

// copied returns a directory with copies of the files.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func serverTLS(t *testing.T, dir string) *tls.Config {
	t.Helper()
	config, _, err := LoadServerTLS(ServerPaths(dir), ServerOptions{})
	if err != nil {
		t.Fatalf("LoadServerTLS: %v", err)
	}
	return config
}

func clientTLS(t *testing.T, dir string) *tls.Config {
	t.Helper()
	config, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{ServerName: "localhost"})
	if err != nil {
		t.Fatalf("LoadClientTLS: %v", err)
	}
	return config
}

// handshake does a handshake over a real TCP connection, sends a byte in each direction, and returns the error of each end.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		conn := tls.Server(raw, server)
		if err := conn.Handshake(); err != nil {
			done <- err
			return
		}
		buffer := make([]byte, 1)
		if _, err := conn.Read(buffer); err != nil {
			done <- err
			return
		}
		_, err = conn.Write(buffer)
		done <- err
	}()
	clientErr = func() error {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", listener.Addr().String(), client)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
		// With TLS 1.3 a client learns only here that its certificate was refused.
		_, err = conn.Read(make([]byte, 1))
		return err
	}()
	return <-done, clientErr
}

// clock is a clock that a test sets.
type clock struct{ nanos atomic.Int64 }

func newClock(start time.Time) *clock {
	c := &clock{}
	c.nanos.Store(start.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// exists reports whether there is a file at the path itself.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
