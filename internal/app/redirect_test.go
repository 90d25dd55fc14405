package app

import (
	"net"
	"net/url"
	"testing"
)

// Sessions may be reached at another port than Berth itself, by a front that leads both here.
func TestRedirectLeadsToThePortOfTheHost(t *testing.T) {
	t.Parallel()
	listen := &net.TCPAddr{IP: net.IPv4zero, Port: 4443}
	public := &url.URL{Scheme: "https", Host: "berth.example"}
	for _, c := range []struct {
		public *url.URL
		domain string
		host   string
		want   uint16
	}{
		{public, "ses.example:8443", "ses-a.ses.example", 8443},
		{public, "ses.example:8443", "SES-A.SES.EXAMPLE", 8443},
		{public, "ses.example:8443", "berth.example", 443},
		{public, "ses.example:8443", "evil-ses.example", 443},
		{public, "ses.example", "ses-a.ses.example", 443},
		{&url.URL{Scheme: "https", Host: "berth.example:9443"}, "ses.example", "ses-a.ses.example", 9443},
		{&url.URL{Scheme: "https", Host: "berth.example:9443"}, "ses.example:443", "ses-a.ses.example", 443},
		{nil, "", "192.0.2.1", 4443},
	} {
		if got := httpsPorts(listen, c.public, c.domain)(c.host); got != c.want {
			t.Errorf("%v, sessions at %q, %s: got %d, want %d", c.public, c.domain, c.host, got, c.want)
		}
	}
}
