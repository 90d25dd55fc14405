// Package acme obtains certificates for Berth's own listener from an ACME authority, such as Let's Encrypt, and renews them.
//
// It knows the protocol (RFC 8555) and its challenges, by way of certmagic. It does not know the listeners, on which its challenges
// are answered, and obtains certificates for the names that it is given and for no others: a certificate of a public authority is
// published, so that one for each session would tell who has sessions.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"

	"berth/internal/origin"
	"berth/internal/pki"
)

// Options say what to obtain, and from whom. Host or Sessions, Email, Storage and Logger are required.
type Options struct {
	Host     string // name of Berth itself; empty: none
	Sessions string // domain of the sessions' names, for which there is one wildcard certificate; empty: none
	Email    string // of the account
	CA       string // URL of the authority's directory; empty: Let's Encrypt
	CARoot   string // file with the authority of that URL's certificate; empty: those of this machine
	Hook     string // program that sets DNS records, for the wildcard certificate; see [Hook]
	Storage  string // directory for accounts, keys and certificates
	Logger   *slog.Logger

	// Listen is the address of the listener with TLS, and Redirect that of plain HTTP; nil: there is none. They answer the
	// challenges.
	Listen, Redirect net.Addr

	checkEvery time.Duration // for certificates to renew; 0: certmagic's default
}

// Manager has the certificates. Make it with [New], and call [Manager.Run].
type Manager struct {
	log      *slog.Logger
	cache    *certmagic.Cache
	own      *certmagic.Config // for Host, by challenges on the listeners
	sessions *certmagic.Config // for the wildcard, by DNS; nil: none
	issuer   *certmagic.ACMEIssuer
	host     string // empty: none
	names    []string
	stop     func()
}

// New checks the options and reads what is stored. It contacts nobody.
func New(o Options) (*Manager, error) {
	if o.Host == "" && o.Sessions == "" || o.Email == "" || o.Storage == "" || o.Logger == nil {
		return nil, errors.New("acme: host or sessions, email, storage and logger are required")
	}
	if o.Sessions != "" && o.Hook == "" {
		return nil, errors.New("acme: a wildcard certificate needs a hook")
	}
	if err := os.MkdirAll(o.Storage, 0o700); err != nil {
		return nil, fmt.Errorf("create the directory of certificates: %w", err)
	}
	roots, err := pki.ReadRoots(o.CARoot)
	if err != nil {
		return nil, err
	}
	m := &Manager{log: o.Logger, host: o.Host}
	quiet := zap.New(slogCore{o.Logger})
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(c certmagic.Certificate) (*certmagic.Config, error) { return m.configOf(c.Names), nil },
		RenewCheckInterval: o.checkEvery, Logger: quiet,
	})
	m.stop = sync.OnceFunc(m.cache.Stop)
	template := certmagic.ACMEIssuer{
		CA: o.CA, Email: o.Email, Agreed: true, TrustedRoots: roots, Logger: quiet,
		DisableHTTPChallenge: o.Redirect == nil, DisableTLSALPNChallenge: o.Listen == nil, DisableDistributedSolvers: true,
		HTTPProxy: http.ProxyFromEnvironment,
	}
	if o.CA == "" {
		template.CA = certmagic.LetsEncryptProductionCA
	}
	template.TestCA = template.CA // certmagic retries with another authority otherwise
	// certmagic would open listeners of its own; where ours listen, it finds them.
	for _, at := range []struct {
		addr net.Addr
		port *int
	}{{o.Redirect, &template.AltHTTPPort}, {o.Listen, &template.AltTLSALPNPort}} {
		if at.addr == nil {
			continue
		}
		host, port, err := net.SplitHostPort(at.addr.String())
		if err != nil {
			return nil, fmt.Errorf("acme: the listener %s has no port: %w", at.addr, err)
		}
		*at.port, _ = strconv.Atoi(port) // an address of a listener has one
		template.ListenHost = host
	}
	base := certmagic.Config{Storage: &certmagic.FileStorage{Path: o.Storage}, Logger: quiet, OnEvent: m.event, OCSP: certmagic.OCSPConfig{DisableStapling: true}}
	m.own = certmagic.New(m.cache, base)
	m.issuer = certmagic.NewACMEIssuer(m.own, template)
	m.own.Issuers = []certmagic.Issuer{m.issuer}
	if o.Host != "" {
		m.names = append(m.names, o.Host)
	}
	if o.Sessions != "" {
		m.names = append(m.names, "*."+o.Sessions)
		template.DNS01Solver = Hook{Program: o.Hook, Logger: o.Logger}
		m.sessions = certmagic.New(m.cache, base)
		m.sessions.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(m.sessions, template)}
	}
	return m, nil
}

func (m *Manager) configOf(names []string) *certmagic.Config {
	if m.sessions != nil && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "*.") }) {
		return m.sessions
	}
	return m.own
}

// Run obtains the certificates that are missing and renews those that end, until ctx ends. Failures are logged and tried again.
func (m *Manager) Run(ctx context.Context) error {
	defer m.Close()
	for _, name := range m.names {
		if err := m.configOf([]string{name}).ManageAsync(ctx, []string{name}); err != nil {
			m.log.ErrorContext(ctx, "certificate cannot be managed", "host", name, "error", err)
		}
	}
	<-ctx.Done()
	return nil
}

// Close ends the renewals, also of a Manager that did not run. Calling it again is allowed.
func (m *Manager) Close() { m.stop() }

// Protocol is the name (ALPN) that the listener has to offer for challenges over TLS.
func (*Manager) Protocol() string { return acmez.ACMETLS1Protocol }

// Covers reports whether a host is one of those for which certificates are obtained.
func (m *Manager) Covers(host string) bool {
	host = strings.ToLower(host)
	for _, name := range m.names {
		domain, isWildcard := strings.CutPrefix(name, "*.")
		label, rest, _ := strings.Cut(host, ".")
		if host == name || isWildcard && rest == domain && label != "" {
			return true
		}
	}
	return false
}

// Get returns the certificate for a handshake, or the one that answers a challenge. nil: the handshake is for another host.
// An error says that there is none yet.
func (m *Manager) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if !m.Covers(name) {
		return nil, nil //nolint:nilnil // see above
	}
	return m.configOf(m.nameFor(name)).GetCertificate(hello)
}

// nameFor returns the name of the certificate for a host.
func (m *Manager) nameFor(host string) []string {
	if slices.Contains(m.names, host) {
		return []string{host}
	}
	return m.names[len(m.names)-1:]
}

// Challenges answers the authority's challenges over plain HTTP, and passes other requests on.
func (m *Manager) Challenges(next http.Handler) http.Handler {
	answer := m.issuer.HTTPChallengeHandler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _ := origin.Cut(r.Host)
		if m.host == "" || strings.ToLower(host) != m.host {
			next.ServeHTTP(w, r)
			return
		}
		answer.ServeHTTP(w, r)
	})
}

// Leaves are the certificates that have been obtained, without their chains.
func (m *Manager) Leaves() []*x509.Certificate {
	var leaves []*x509.Certificate
	for _, name := range m.names {
		for _, c := range m.cache.AllMatchingCertificates(name) {
			leaves = append(leaves, c.Leaf)
		}
	}
	return leaves
}

// event is called by certmagic.
func (m *Manager) event(ctx context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtained":
		m.log.InfoContext(ctx, "certificate obtained", "host", data["identifier"], "renewal", data["renewal"])
	case "cert_failed":
		m.log.ErrorContext(ctx, "certificate not obtained, trying again later", "host", data["identifier"], "renewal", data["renewal"], "error", data["error"])
	}
	return nil
}
