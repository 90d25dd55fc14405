package pki

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math"
	"sync"
	"time"

	"berth/internal/telemetry"
)

// Urgency is how soon a certificate must be replaced.
type Urgency string

// The urgencies. An expired certificate is critical.
const (
	UrgencyOK       Urgency = "ok"
	UrgencyWarning  Urgency = "warning"  // from 30 days before the end
	UrgencyCritical Urgency = "critical" // from 7 days before the end
)

const (
	warningFrom  = 30 * 24 * time.Hour
	criticalFrom = 7 * 24 * time.Hour
	remindEvery  = 24 * time.Hour
)

// Expiry is the remaining validity of one certificate.
type Expiry struct {
	Kind        Kind          `json:"kind"`
	Subject     string        `json:"subject"`
	Serial      string        `json:"serial"` // hexadecimal
	NotAfter    time.Time     `json:"not_after"`
	Left        time.Duration `json:"-"`         // negative when it has expired
	DaysLeft    int           `json:"days_left"` // whole days, rounded down
	Urgency     Urgency       `json:"urgency"`
	fingerprint string
}

// Certificate names a certificate from the point of view of an engine client: a server's is the engine's.
func (e Expiry) Certificate() string {
	if e.Kind == KindServer {
		return "engine"
	}
	return string(e.Kind)
}

// ExpiryOf is the remaining validity of a certificate.
func ExpiryOf(cert *x509.Certificate, now time.Time) Expiry {
	d := describe("", cert)
	left := cert.NotAfter.Sub(now)
	e := Expiry{
		Kind: d.Kind, Subject: d.Subject, Serial: d.Serial, NotAfter: d.NotAfter, Left: left,
		DaysLeft: int(math.Floor(left.Hours() / 24)), Urgency: UrgencyOK, fingerprint: d.FingerprintSHA256,
	}
	switch {
	case left <= criticalFrom:
		e.Urgency = UrgencyCritical
	case left <= warningFrom:
		e.Urgency = UrgencyWarning
	}
	return e
}

func expiries(f files, own Kind, now time.Time) []Expiry {
	mine := ExpiryOf(f.pair.Leaf, now)
	// A certificate for both ends is used for the client's end here.
	mine.Kind = own
	all := []Expiry{mine}
	for _, cert := range f.authorities.all {
		all = append(all, ExpiryOf(cert, now))
	}
	return all
}

// Reminder limits how often an expiry is logged. The zero value is ready; it is safe for concurrent use.
type Reminder struct {
	mu   sync.Mutex
	last map[string]time.Time // of the last reminder, by urgency and fingerprint
}

// Log logs that a certificate expires soon, if a reminder is due. certificate is its role in the connection.
func (r *Reminder) Log(ctx context.Context, log *slog.Logger, e Expiry, certificate, remedy string) {
	if !r.Due(e, time.Now()) {
		return
	}
	level := slog.LevelWarn
	if e.Urgency == UrgencyCritical {
		level = telemetry.LevelCritical
	}
	log.Log(ctx, level, "certificate expires soon", "certificate", certificate, "subject", e.Subject,
		"serial", e.Serial, "expires_at", e.NotAfter, "days_left", e.DaysLeft, "remedy", remedy)
}

// Due reports whether to log a reminder now: the certificate is urgent, and the last reminder is a day old, or it has become
// more urgent since.
func (r *Reminder) Due(e Expiry, now time.Time) bool {
	if e.Urgency == UrgencyOK {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := string(e.Urgency) + e.fingerprint
	if at, ok := r.last[key]; ok && now.Sub(at) < remindEvery {
		return false
	}
	if r.last == nil {
		r.last = map[string]time.Time{}
	}
	r.last[key] = now
	return true
}
