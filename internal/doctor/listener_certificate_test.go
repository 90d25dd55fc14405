package doctor

import (
	"os"
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
		"two pairs":    {twoPairs(a), []string{"pass valid"}},
		"open key":     {openKey(lasting(60, "berth.example", "*.sessions.example")), []string{"fail key-open"}},
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

func openKey(change func(*testing.T, *Options, *fakeEngine)) func(*testing.T, *Options, *fakeEngine) {
	return func(t *testing.T, o *Options, e *fakeEngine) {
		change(t, o, e)
		if err := os.Chmod(o.Config.Server.TLSKey, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
