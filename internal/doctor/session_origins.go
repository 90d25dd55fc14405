package doctor

import (
	"context"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// sessionOrigins checks how well browsers keep sessions apart from Berth and from each other.
func sessionOrigins(_ context.Context, o *Options) []Finding {
	domain, ports := o.Config.Session.DomainName(), o.Config.Session.Ports
	public, err := o.Config.Server.Public()
	if err != nil {
		return []Finding{fail("public-url-faulty", "correct BERTH_PUBLIC_URL", "%v", err)}
	}
	var findings []Finding
	switch {
	case domain == "" && ports == "":
		return []Finding{skip("no-origins", "SESSION_DOMAIN and SESSION_PORTS are not set: browsers reach sessions on this machine only")}
	case domain == "":
	case public != nil && site(domain) == site(public.Hostname()):
		findings = append(findings, warn("same-site", "register a domain of its own for SESSION_DOMAIN, and point *.that-domain here",
			"%s and %s are one site to browsers (%s): a session's page can set cookies that Berth's own pages get", domain, public.Hostname(), site(domain)))
	default:
		findings = append(findings, pass("separate-site", "sessions have names below %s, which is another site than Berth's own", domain))
	}
	if public != nil && public.Scheme != "https" && public.Hostname() != "localhost" {
		findings = append(findings, warn("no-tls", "serve Berth by TLS (BERTH_TLS_CERT and BERTH_TLS_KEY, or a proxy in front) and let BERTH_PUBLIC_URL begin with https",
			"browsers cannot sign in to sessions over plain HTTP"))
	}
	if domain == "" {
		findings = append(findings, warn("ports", "set SESSION_DOMAIN instead, where a wildcard DNS record can be had",
			"SESSION_PORTS gives sessions ports of one host, which share their cookies"))
	}
	if first, last, err := o.Config.Session.PortRange(); err == nil && ports != "" && int(last)-int(first)+1 < o.Config.Limits.MaxSessions {
		findings = append(findings, warn("too-few-ports", "let SESSION_PORTS have at least as many ports as MAX_CONCURRENT_SESSIONS allows sessions",
			"SESSION_PORTS has %d ports for %d sessions: those that find none have no address for browsers there", int(last)-int(first)+1, o.Config.Limits.MaxSessions))
	}
	return findings
}

// site is what browsers call the site of a host: its registrable domain, or the host itself where there is none.
func site(host string) string {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return host
	}
	registrable, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	return registrable
}
