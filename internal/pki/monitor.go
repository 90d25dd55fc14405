package pki

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

const (
	// expiriesEvery is the interval of the checks of expiries; each expiry is logged once a day.
	expiriesEvery = time.Minute
	// handshakeEvery is the number of those checks after which a new handshake is done, which shows the certificate that the
	// engine has loaded: an open connection shows the one of its handshake.
	handshakeEvery   = 60
	handshakeTimeout = 10 * time.Second
)

// Monitor watches the certificates of the connection to an engine.
type Monitor struct {
	Client  *Client
	Address string // host:port of the engine
	Renew   func() // replaces the connections
	Logger  *slog.Logger
}

// Run watches the certificates until ctx ends: it reloads those that change on disk, and logs those that expire soon.
func (m Monitor) Run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Client.Watch(ctx, m.Renew)
	}()
	defer func() { <-ended }()
	tick := time.NewTicker(expiriesEvery)
	defer tick.Stop()
	var reminder Reminder
	for n := 0; ; n++ {
		if n%handshakeEvery == 0 {
			m.Handshake(ctx)
		}
		m.remind(ctx, &reminder)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Handshake does one TLS handshake, which updates the certificate that [Client.Expiries] reports.
func (m Monitor) Handshake(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: m.Client.TLS()}
	conn, err := dialer.DialContext(ctx, "tcp", m.Address)
	if err != nil {
		m.Logger.DebugContext(ctx, "handshake with the engine failed, its certificate is not known", "error", err)
		return
	}
	_ = conn.Close()
}

func (m Monitor) remind(ctx context.Context, reminder *Reminder) {
	for _, e := range m.Client.Expiries() {
		reminder.Log(ctx, m.Logger, e, e.Certificate(), remedy(e.Kind))
	}
}

func remedy(kind Kind) string {
	switch kind {
	case KindCA:
		return "run berth certs rotate where the authority's key is"
	case KindServer:
		return "run berth certs renew on the engine's host; a dockerd that serves TLS itself must be restarted then"
	default:
		return "run berth certs renew"
	}
}
