package pki

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"berth/internal/porttest"
)

// monitored watches the certificates of an engine that only does the TLS handshake, in a directory.
func monitored(t *testing.T) (m Monitor, dir string, log *bytes.Buffer) {
	t.Helper()
	dir = initialized(t, InitOptions{})
	server, _, err := LoadServerTLS(ServerPaths(dir), ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := porttest.Handshakes(t, server)
	client, _, err := OpenClient(ClientPaths(dir, Paths{}), ClientOptions{ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	return Monitor{Client: client, Address: address.String(), Renew: func() {}, Logger: slog.New(slog.NewTextHandler(log, nil))}, dir, log
}

func TestExpiryIsLoggedOnceADay(t *testing.T) {
	t.Parallel()
	m, dir, log := monitored(t)
	for _, days := range []int{20, 5} {
		if _, err := Renew(dir, RenewOptions{Force: true, Days: days}); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		m.Handshake(t.Context())
		var reminder Reminder
		for range 3 {
			m.remind(t.Context(), &reminder)
		}
		level := map[int]string{20: "level=WARN ", 5: "level=ERROR+4 "}[days]
		for _, certificate := range []string{"engine", "client"} {
			if n := strings.Count(log.String(), "certificate="+certificate+" "); n != 1 {
				t.Errorf("%d days: logged the %s's certificate %d times, want once:\n%s", days, certificate, n, log.String())
			}
		}
		if n := strings.Count(log.String(), level); n != 2 {
			t.Errorf("%d days: %d lines with %s, want 2:\n%s", days, n, level, log.String())
		}
	}
}

func TestChangedCertificatesTakeNewConnections(t *testing.T) {
	t.Parallel()
	m, dir, _ := monitored(t)
	renewed := make(chan struct{}, 1)
	m.Renew = func() { renewed <- struct{}{} }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	if _, err := Renew(dir, RenewOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-renewed:
	case <-time.After(10 * time.Second):
		t.Error("the change was not noticed")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("watching ended with %v", err)
	}
}
