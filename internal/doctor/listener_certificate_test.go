package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"berth/internal/tlstest"
)

func TestListenerCertificate(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	// lasting has the listener show a certificate that ends after a number of days.
	lasting := func(days int, hosts ...string) func(*testing.T, *Options, *fakeEngine) {
		return func(t *testing.T, o *Options, _ *fakeEngine) {
			pair := a.Issue(t, time.Now().AddDate(0, 0, days-90), 90, hosts...)
			o.Config.Server.TLSCert, o.Config.Server.TLSKey = tlstest.Write(t, t.TempDir(), "server", pair)
			o.Config.Server.PublicURL, o.Config.Session.Domain = "https://berth.example:8443", "sessions.example:8443"
		}
	}
	checkCases{
		"plain HTTP":   {nil, []string{"skipped no-tls"}},
		"good":         {lasting(60, "berth.example", "*.sessions.example"), []string{"pass valid"}},
		"due":          {lasting(15, "berth.example", "*.sessions.example"), []string{"warn renewal-due"}},
		"late":         {lasting(3, "berth.example", "*.sessions.example"), []string{"fail renewal-late"}},
		"expired":      {lasting(-3, "berth.example", "*.sessions.example"), []string{"fail not-valid-now"}},
		"no sessions":  {lasting(60, "berth.example", "sessions.example"), []string{"fail session-hosts-not-covered"}},
		"one session":  {lasting(60, "berth.example", "ses-1.sessions.example"), []string{"fail session-hosts-not-covered"}},
		"not the host": {lasting(60, "*.sessions.example"), []string{"fail public-host-not-covered"}},
		"other hosts":  {lasting(60, "other.example"), []string{"fail public-host-not-covered", "fail session-hosts-not-covered"}},
		"not obtained": {obtaining(a, 0), []string{"warn not-obtained", "warn not-obtained"}},
		"obtained":     {obtaining(a, 60), []string{"pass valid"}},
		"not renewed":  {obtaining(a, 10), []string{"fail not-renewed", "fail not-renewed"}},
		"no hook": {func(t *testing.T, o *Options, e *fakeEngine) {
			obtaining(a, 60)(t, o, e)
			o.Config.Server.ACMEDNSHook = ""
		}, []string{"fail session-hosts-not-covered"}},
		"two pairs": {twoPairs(a), []string{"pass valid"}},
		"open key":  {openKey(lasting(60, "berth.example", "*.sessions.example")), []string{"fail key-open"}},
		"no such files": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Server.TLSCert, o.Config.Server.TLSKey = "/none", "/none"
		}, []string{"fail pair-unusable"}},
	}.run(t, "listener-certificate")
}

func twoPairs(a *tlstest.Authority) func(*testing.T, *Options, *fakeEngine) {
	return func(t *testing.T, o *Options, _ *fakeEngine) {
		cert, key := a.Files(t, "berth.example")
		wildcard, itsKey := a.Files(t, "*.sessions.example")
		o.Config.Server.TLSCert, o.Config.Server.TLSKey = cert+","+wildcard, key+","+itsKey
		o.Config.Server.PublicURL, o.Config.Session.Domain = "https://berth.example", "sessions.example"
	}
}

// obtaining has Berth obtain its certificates, which end after a number of days; 0: there are none.
func obtaining(a *tlstest.Authority, days int) func(*testing.T, *Options, *fakeEngine) {
	return func(t *testing.T, o *Options, _ *fakeEngine) {
		o.Config.Server.ACMEEmail, o.Config.Server.ACMEDNSHook = "operator@berth.example", "/hook"
		o.Config.Server.PublicURL, o.Config.Session.Domain = "https://berth.example", "sessions.example"
		if days == 0 {
			return
		}
		for dir, host := range map[string]string{"berth.example": "berth.example", "wildcard_.sessions.example": "*.sessions.example"} {
			at := filepath.Join(o.Config.Server.StateDir, "acme", "certificates", "ca", dir)
			if err := os.MkdirAll(at, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, left := range []int{days, 1} { // an older one of another authority
				pair := a.Issue(t, time.Now().AddDate(0, 0, left-90), 90, host)
				if err := os.WriteFile(filepath.Join(at, fmt.Sprint(left)+".crt"), pair.CertPEM(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func openKey(change func(*testing.T, *Options, *fakeEngine)) func(*testing.T, *Options, *fakeEngine) {
	return func(t *testing.T, o *Options, e *fakeEngine) {
		change(t, o, e)
		if err := os.Chmod(o.Config.Server.TLSKey, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
