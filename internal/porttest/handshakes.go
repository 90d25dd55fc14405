package porttest

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"
)

// Handshakes listens on a loopback port until the test ends, shakes hands with whoever comes, and answers nothing.
func Handshakes(t testing.TB, config *tls.Config) net.Addr {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr()
}
