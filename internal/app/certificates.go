package app

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/internal/config"
	"berth/internal/pin"
	"berth/internal/pki"
	"berth/internal/telemetry"
)

const (
	// lookAtEngine is how often a handshake of its own shows which certificate the engine has loaded: connections that are
	// kept show what it had when they were made.
	lookAtEngine = time.Hour
	// lookAtExpiries is how often expiries are thought of; each is spoken of once a day.
	lookAtExpiries = time.Minute
	lookTimeout    = 10 * time.Second
)

// openCertificates returns nil for a local socket, which the configuration has allowed explicitly.
func openCertificates(ctx context.Context, d config.Docker, log *slog.Logger) (*pki.Client, error) {
	engine, err := url.Parse(d.Host)
	if err != nil || engine.Scheme != "tcp" {
		return nil, nil //nolint:nilerr,nilnil // docker.Open says what is wrong with the address
	}
	pins, err := pin.ParseList(d.TLSPin)
	if err != nil {
		return nil, err
	}
	client, warnings, err := pki.OpenClient(clientPaths(d), pki.ClientOptions{
		ServerName: engine.Hostname(), Pins: pins,
		NoVerify: !d.TLSVerify, // refused in production, warned of elsewhere
		Strict:   d.Env == config.Production,
		Reloaded: func(err error) {
			if err != nil {
				log.ErrorContext(ctx, "changed certificates not taken, going on with those in memory", "error", err)
				return
			}
			log.InfoContext(ctx, "certificates read again")
		},
	})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		log.WarnContext(ctx, "certificate needs attention", "code", w.Code, "path", w.Path, "problem", w.Text)
	}
	return client, nil
}

// certificateWatch follows the certificates of the engine's connection.
type certificateWatch struct {
	client *pki.Client
	host   string // DOCKER_HOST
	renew  func() // takes new connections to the engine
	log    *slog.Logger
}

// run follows the certificates until ctx ends: those that change on disk come into use at once, and those that will expire
// are logged in time.
func (c certificateWatch) run(ctx context.Context) error {
	var work errgroup.Group
	work.Go(func() error {
		c.client.Watch(ctx, c.renew)
		return nil
	})
	work.Go(func() error {
		every(ctx, lookAtEngine, func() { c.ask(ctx) })
		return nil
	})
	var reminder pki.Reminder
	work.Go(func() error {
		every(ctx, lookAtExpiries, func() { c.remind(ctx, &reminder) })
		return nil
	})
	return work.Wait()
}

// every calls f now and in intervals until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask shakes hands once, for the certificate that this shows.
func (c certificateWatch) ask(ctx context.Context) {
	engine, err := url.Parse(c.host)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: c.client.TLS()}
	conn, err := dialer.DialContext(ctx, "tcp", engine.Host)
	if err != nil {
		c.log.DebugContext(ctx, "engine's certificate not seen", "error", err)
		return
	}
	_ = conn.Close()
}

func (c certificateWatch) remind(ctx context.Context, reminder *pki.Reminder) {
	for _, e := range c.client.Expiries() {
		if !reminder.Due(e, time.Now()) {
			continue
		}
		level := slog.LevelWarn
		if e.Urgency == pki.UrgencyCritical {
			level = telemetry.LevelCritical
		}
		c.log.Log(ctx, level, "certificate expires soon", "certificate", e.Certificate(), "subject", e.Subject,
			"serial", e.Serial, "expires_at", e.NotAfter, "days_left", e.DaysLeft, "remedy", remedy(e.Kind))
	}
}

func remedy(kind pki.Kind) string {
	switch kind {
	case pki.KindCA:
		return "run berth certs rotate where the authority's key is"
	case pki.KindServer:
		return "run berth certs renew on the engine's host; a dockerd that serves TLS itself must be restarted then"
	default:
		return "run berth certs renew"
	}
}
