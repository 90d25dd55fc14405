package pipenet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"berth/internal/pipenet"
)

func TestServerIsReachedInABubbleUntilItCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &pipenet.Network{}
		l, err := network.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			<-time.After(time.Hour)
			_, _ = io.WriteString(w, "an hour later")
		})}
		done := make(chan error, 1)
		go func() { done <- server.Serve(l) }()
		client := &http.Client{Transport: &http.Transport{DialContext: network.Dial, DisableKeepAlives: true}}
		begun := time.Now()
		answer, err := client.Get("http://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if took := time.Since(begun); string(body) != "an hour later" || err != nil || took != time.Hour {
			t.Errorf("got %q, %v after %s; want the answer after an hour of the bubble", body, err, took)
		}
		if err := errors.Join(server.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: got %v, want %v", err, http.ErrServerClosed)
		}
		if _, err := network.Dial(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after the close: got %v, want the connection refused", err)
		}
	})
}

func TestDialWaitsForAcceptNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &pipenet.Network{}
		l, err := network.Listen("127.0.1.1:4096")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := network.Listen("127.0.1.1:4096"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second listener at the address: got %v, want it in use", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := network.Dial(ctx, "tcp", "127.0.1.1:4096"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody accepts: got %v, want the deadline", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after the close: got %v, want %v", err, net.ErrClosed)
		}
	})
}
