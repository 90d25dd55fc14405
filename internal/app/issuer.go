package app

import (
	"context"
	"fmt"
	"net"

	"berth/internal/acme"
	"berth/internal/config"
	"berth/internal/servertls"
	"berth/internal/storage"
)

// openIssuer opens the ACME client for those of Berth's hosts that no certificate file is for. nil: there are none, or no account.
func (a *App) openIssuer(dir storage.Dir) (servertls.Issuer, error) {
	options, wanted := a.acmeOptions(dir)
	if !wanted {
		return nil, nil //nolint:nilnil // see above
	}
	issuer, err := acme.New(options)
	if err != nil {
		return nil, fmt.Errorf("open the ACME client (BERTH_ACME_CA_ROOT): %w", err)
	}
	a.issuer = issuer
	a.onStop("ACME client", func(context.Context) error { issuer.Close(); return nil })
	return issuer, nil
}

func (a *App) acmeOptions(dir storage.Dir) (options acme.Options, wanted bool) {
	s := a.cfg.Server
	public, err := s.Public()
	if s.ACMEEmail == "" || err != nil || public == nil {
		return acme.Options{}, false
	}
	options = acme.Options{
		Email: s.ACMEEmail, CA: s.ACMECA, CARoot: s.ACMECARoot, Hook: s.ACMEDNSHook, Storage: dir.ACME(), Logger: a.named("acme"),
	}
	if _, isTCP := a.listen.Addr().(*net.TCPAddr); isTCP {
		options.Listen = a.listen.Addr()
	}
	if a.redirectSocket != nil {
		options.Redirect = a.redirectSocket.Addr()
	}
	if host := public.Hostname(); !hasFile(s, host) {
		options.Host = host
	}
	if domain := a.cfg.Session.DomainName(); domain != "" && s.ACMEDNSHook != "" && !hasFile(s, "any-session."+domain) {
		options.Sessions = domain
	}
	return options, options.Host != "" || options.Sessions != ""
}

// hasFile reports whether a certificate file is for a host.
func hasFile(s config.Server, host string) bool {
	for _, files := range keyPairs(s) {
		if pair, err := servertls.Load(files); err == nil && pair.Leaf.VerifyHostname(host) == nil {
			return true
		}
	}
	return false
}
