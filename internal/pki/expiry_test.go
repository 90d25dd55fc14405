package pki

import (
	"context"
	"crypto/tls"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUrgencyRisesTowardsExpiry(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	certs, err := ReadCertificates(filepath.Join(dir, ClientCertFile))
	if err != nil {
		t.Fatal(err)
	}
	end := certs[0].NotAfter
	for _, tt := range []struct {
		before time.Duration
		days   int
		want   Urgency
	}{
		{30*24*time.Hour + time.Second, 30, UrgencyOK},
		{30 * 24 * time.Hour, 30, UrgencyWarning},
		{7*24*time.Hour + time.Second, 7, UrgencyWarning},
		{7*24*time.Hour - time.Second, 6, UrgencyCritical},
		{0, 0, UrgencyCritical},
		{-time.Second, -1, UrgencyCritical},
	} {
		if got := ExpiryOf(certs[0], end.Add(-tt.before)); got.Urgency != tt.want || got.DaysLeft != tt.days {
			t.Errorf("%s before the end: %+v; want %d days, %s", tt.before, got, tt.days, tt.want)
		}
	}
}

func TestRemindersAreDaily(t *testing.T) {
	t.Parallel()
	start := time.Now()
	warning := Expiry{Urgency: UrgencyWarning, fingerprint: "a"}
	critical, other := warning, warning
	critical.Urgency, other.fingerprint = UrgencyCritical, "b"
	var r Reminder
	for i, tt := range []struct {
		e    Expiry
		at   time.Duration
		want bool
	}{
		{Expiry{Urgency: UrgencyOK}, 0, false},
		{warning, 0, true},
		{warning, time.Hour, false},
		{other, time.Hour, true},
		{critical, 2 * time.Hour, true},
		{critical, 3 * time.Hour, false},
		{warning, 24 * time.Hour, true},
		{critical, 26 * time.Hour, true},
	} {
		if got := r.Due(tt.e, start.Add(tt.at)); got != tt.want {
			t.Errorf("reminder %d: %v, want %v", i, got, tt.want)
		}
	}
}

// The reported expiry is that of the certificate that the engine has loaded, not of the one in its files.
func TestExpiryIsThatOfTheLoadedCertificate(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	loaded := serverTLS(t, copied(t, dir))
	want := described(t, filepath.Join(dir, ServerCertFile)).Serial
	if _, err := Renew(dir, RenewOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	clock := newClock(time.Now())
	client, _, err := OpenClient(ClientPaths(dir, Paths{}), ClientOptions{ServerName: "localhost", Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	kinds := func() (kinds []Kind) {
		for _, e := range client.Expiries() {
			kinds = append(kinds, e.Kind)
		}
		return kinds
	}
	if diff := cmp.Diff([]Kind{KindClient, KindCA}, kinds()); diff != "" {
		t.Errorf("before a handshake: %s", diff)
	}
	if !works(t, loaded, client.TLS()) {
		t.Fatal("no handshake")
	}
	if got := client.Expiries()[0]; got.Kind != KindServer || got.Serial != want {
		t.Errorf("got %+v, want the loaded certificate %s", got, want)
	}
	// An engine with an expired certificate is refused, and its expiry is reported.
	fresh := initialized(t, InitOptions{})
	late, _, err := OpenClient(ClientPaths(issuedLong(t, fresh), Paths{}), ClientOptions{
		ServerName: "localhost", Now: func() time.Time { return time.Now().AddDate(0, 0, 91) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, serverTLS(t, fresh), late.TLS()); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired engine: %v, want a refusal", err)
	}
	if got := late.Expiries()[0]; got.Kind != KindServer || got.Urgency != UrgencyCritical {
		t.Errorf("got %+v, want the expired certificate of the engine", got)
	}
	if _, err := handshake(t, serverTLS(t, initialized(t, InitOptions{})), late.TLS()); err == nil {
		t.Error("a server of another authority was accepted")
	}
	if got := late.Expiries()[0]; got.Serial != described(t, filepath.Join(fresh, ServerCertFile)).Serial {
		t.Errorf("a foreign certificate is reported as the engine's: %+v", got)
	}
}

// issuedLong is a client with a long-lived certificate.
func issuedLong(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "long")
	if _, err := Issue(dir, IssueOptions{Kind: KindClient, Name: "long", Out: out, Days: 200}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWatchReportsEveryChange(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	client, _, err := OpenClient(ClientPaths(dir, Paths{}), ClientOptions{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 10)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer close(ended)
		client.Watch(ctx, func() { changed <- struct{}{} })
	}()
	for i := range 2 {
		if _, err := Renew(dir, RenewOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			// A handshake may notice the change first; watchers are notified too.
			if !works(t, serverTLS(t, dir), client.TLS()) {
				t.Error("no handshake with the new files")
			}
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("change %d was not reported", i)
		}
	}
	cancel()
	<-ended
	if len(changed) != 0 {
		t.Error("a change was reported twice")
	}
}

func TestAuthoritiesAreFollowed(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	client, server := clientTLS(t, dir), serverTLS(t, copied(t, dir))
	if !works(t, server, client) {
		t.Fatal("no handshake at first")
	}
	if _, err := Init(dir, InitOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, client); err == nil || !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("server of the replaced authority: %v, want a refusal", err)
	}
	if !works(t, serverTLS(t, dir), client) {
		t.Error("server of the new authority is refused")
	}
}
