package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"berth/internal/config"
	"berth/internal/origin"
	"berth/internal/server"
	"berth/internal/servertls"
	"berth/internal/storage"
)

// openListener opens the listener, on whose address the origins of sessions depend, its certificates, and the listener that
// redirects to it.
func (a *App) openListener(ctx context.Context, dir storage.Dir) (err error) {
	if a.listen, err = a.openSocket(ctx, a.around.listener, a.cfg.Server.Listen, "BERTH_LISTEN"); err != nil {
		return err
	}
	public, err := a.cfg.Server.Public()
	if err != nil {
		return err
	}
	options := origin.Options{Domain: a.cfg.Session.Domain, Public: public, TLS: a.cfg.Server.TLS()}
	if at, ok := a.listen.Addr().(*net.TCPAddr); ok {
		options.Listen, options.Loopback = at.AddrPort().Port(), at.IP.IsLoopback()
	}
	if a.ports != nil {
		options.Port = a.ports.Of
	}
	a.origins = origin.New(options)
	if !a.cfg.Server.TLS() {
		if a.around.redirect != nil {
			return errors.New("the supervisor passes a socket for the redirect to https, but Berth does not speak TLS: " +
				"set BERTH_TLS_CERT and BERTH_TLS_KEY, or disable berth-redirect.socket")
		}
		return nil
	}
	if a.cfg.Server.RedirectListen != "" || a.around.redirect != nil {
		if a.redirectSocket, err = a.openSocket(ctx, a.around.redirect, a.cfg.Server.RedirectListen, "BERTH_REDIRECT_LISTEN"); err != nil {
			return err
		}
	}
	issuer, err := a.openIssuer(dir)
	if err != nil {
		return err
	}
	a.certificates, err = servertls.Open(ctx, keyPairs(a.cfg.Server), servertls.Options{
		Logger: a.named("tls"), Strict: a.cfg.Docker.Env == config.Production, Issuer: issuer,
		Changed: func() { a.publishCertificates(context.WithoutCancel(ctx), dir) },
	})
	if err != nil {
		return fmt.Errorf("the certificates of the listener, BERTH_TLS_CERT and BERTH_TLS_KEY: %w", err)
	}
	a.warnOfUncovered(ctx, public)
	a.openRedirect(public)
	return nil
}

// warnOfUncovered logs the hosts of Berth's addresses that no certificate is for: browsers refuse them. berth doctor tells the same.
func (a *App) warnOfUncovered(ctx context.Context, public *url.URL) {
	if public == nil || public.Scheme != "https" {
		return
	}
	hosts := map[string]string{public.Hostname(): public.Hostname()}
	if domain := a.cfg.Session.DomainName(); domain != "" {
		hosts["any-session."+domain] = "*." + domain
	}
	for host, shown := range hosts {
		if !a.certificates.Covers(host) {
			a.named("tls").WarnContext(ctx, "no certificate is valid for a host of BERTH_PUBLIC_URL or SESSION_DOMAIN; "+
				"add one to BERTH_TLS_CERT and BERTH_TLS_KEY, or set BERTH_ACME_EMAIL", "host", shown)
		}
	}
}

// openSocket returns the listener that was given, or a new one.
func (a *App) openSocket(ctx context.Context, given net.Listener, address, setting string) (net.Listener, error) {
	if given == nil {
		var err error
		if given, err = server.Listen(ctx, address, setting); err != nil {
			return nil, err
		}
	}
	a.onStop("listener", func(context.Context) error {
		if err := given.Close(); !errors.Is(err, net.ErrClosed) { // a server has closed it
			return err
		}
		return nil
	})
	return given, nil
}

// openRedirect makes the server that redirects to https, and answers the challenges of an ACME authority.
func (a *App) openRedirect(public *url.URL) {
	if a.redirectSocket == nil {
		return
	}
	handler := server.RedirectToHTTPS(server.HTTPS{Serves: a.certificates.Covers, Port: httpsPorts(a.listen.Addr(), public, a.cfg.Session.Domain)})
	if a.issuer != nil {
		handler = a.issuer.Challenges(handler)
	}
	a.redirect = server.New(server.Options{
		Listener: a.redirectSocket, Handler: handler, Client: a.client, MaxConnections: a.descriptors.Redirects, Draining: a.draining,
		Logger: a.named("http"),
	})
}

// httpsPorts says to which port of a host clients connect for TLS. Names of sessions may have another one than Berth's own.
func httpsPorts(listen net.Addr, public *url.URL, domain string) func(host string) uint16 {
	own := httpsPort(listen, public)
	name, port, _ := strings.Cut(domain, ":")
	ofSessions, err := strconv.ParseUint(port, 10, 16)
	return func(host string) uint16 {
		if err == nil && strings.HasSuffix(strings.ToLower(host), "."+name) {
			return uint16(ofSessions)
		}
		return own
	}
}

// httpsPort is the port that clients connect to for TLS: that of the public address, which may lead to the listener's.
func httpsPort(listen net.Addr, public *url.URL) uint16 {
	if public != nil && public.Scheme == "https" {
		if port, err := strconv.ParseUint(public.Port(), 10, 16); err == nil {
			return uint16(port)
		}
		return 443
	}
	if at, err := netip.ParseAddrPort(listen.String()); err == nil {
		return at.Port()
	}
	return 443
}

func keyPairs(s config.Server) []servertls.Pair {
	var pairs []servertls.Pair
	for _, pair := range s.KeyPairs() {
		pairs = append(pairs, servertls.Pair(pair))
	}
	return pairs
}

// publishAddress writes the address of this process, and the certificates that it shows, to files for the command line on this
// machine. A full disk must not keep Berth from serving, so a failure is only logged.
func (a *App) publishAddress(ctx context.Context, dir storage.Dir) {
	url := server.LocalURL(a.server.Addr(), a.certificates != nil)
	if url == "" { // not a TCP socket, so that the command line cannot connect
		return
	}
	if a.certificates != nil {
		a.publishCertificates(ctx, dir)
	}
	if err := dir.PublishAddress(url); err != nil {
		a.log.WarnContext(ctx, "address not written, the command line needs --url", "path", dir.AddressFile(), "error", err)
		return
	}
	a.onStop("address", func(context.Context) error { return dir.WithdrawAddress() })
}

func (a *App) publishCertificates(ctx context.Context, dir storage.Dir) {
	if err := dir.PublishCertificates(servertls.Encode(a.certificates.Published())); err != nil {
		a.log.WarnContext(ctx, "certificates not written, the command line needs --url", "path", dir.CertificatesFile(), "error", err)
	}
}
