// Package dockerd plans, applies, verifies and undoes the TLS configuration of the Docker engine on one machine:
// certificates, daemon.json, the service manager's drop-in, and the firewall rule that keeps containers from the
// engine's port.
//
// It knows the engine's files and flags, and systemd's and sysvinit's way to run it. It refuses to know where certificates
// come from, how an engine is tested from outside, flags, questions and printing; it starts no engine but through the
// machine's own service manager.
package dockerd

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// DefaultPort is where an engine with TLS listens by custom.
const DefaultPort = 2376

// answerTimeout is how long a restarted engine may take until it answers.
const answerTimeout = 90 * time.Second

// Material is what the engine needs to authenticate itself and its clients, in PEM.
type Material struct {
	CA   []byte // authorities of the clients; the server's own as well
	Cert []byte
	Key  []byte
}

// String hides the key.
func (Material) String() string { return "[redacted]" }

// GoString hides the key.
func (Material) GoString() string { return "[redacted]" }

// Options say what is to be set up. Server, Client and Verify are required.
type Options struct {
	Listen []netip.AddrPort // none means 127.0.0.1:2376
	Server Material
	Client *x509.Certificate // of Server.CA: the engine must answer it
	// Verify looks at the engine from outside, at an address of this machine and by a name in the server certificate. There is
	// no error when it shows that certificate, answers the client, and refuses one without certificate and one of another
	// authority. answers means that the first two hold, so that more time would change nothing.
	Verify func(ctx context.Context, address, serverName string) (answers bool, err error)

	// RestartCommand restarts the engine where neither systemd nor a service script does; a shell runs it.
	RestartCommand string
	// NoFirewall leaves the rules out that keep containers from the engine's port.
	NoFirewall bool
	// Network is the sessions' network, whoever made it; empty means those only that Berth made.
	Network string
	// GatewayPort is where Berth's gateway listens on the addresses of the sessions' bridges. Sessions reach it there, and those of
	// internal networks the ports 53, 80 and 443 as well; 0: they reach nothing of this machine.
	GatewayPort int
	// Timeout bounds the wait for the restarted engine's answer; zero means 90 seconds.
	Timeout time.Duration
	// Report is called with every step as it begins; nil: nothing is reported.
	Report func(Step)
}

// Step is one part of a set-up, as people see it.
type Step struct {
	Name string // short and stable, such as "restart"
	Text string // what is done
}

// Setup sets up one machine's engine.
type Setup struct {
	host  Host
	opts  Options
	paths paths
	roots *x509.CertPool
	leaf  *x509.Certificate
	// before is called ahead of every change; an error ends the run there, as a fault would.
	before func(point string) error
}

// New checks the options. Nothing on the machine is looked at yet.
func New(host Host, opts Options) (*Setup, error) {
	if len(opts.Listen) == 0 {
		opts.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), DefaultPort)}
	}
	s := WithoutMaterial(host, opts)
	return s, s.checkMaterial()
}

// WithoutMaterial is a Setup that can undo what was set up, close this machine to sessions, and open it, and nothing
// else: only RestartCommand, Network, GatewayPort, Timeout and Report of the options count.
func WithoutMaterial(host Host, opts Options) *Setup {
	opts.Timeout = cmp.Or(opts.Timeout, answerTimeout)
	if opts.Report == nil {
		opts.Report = func(Step) {}
	}
	return &Setup{host: host, opts: opts, paths: host.paths(), before: func(string) error { return nil }}
}

// checkMaterial finds out before anything is changed what would make the engine refuse to start, or refuse its client.
func (s *Setup) checkMaterial() error {
	pair, err := tls.X509KeyPair(s.opts.Server.Cert, s.opts.Server.Key)
	if err != nil {
		return fmt.Errorf("server certificate and key: %w", err)
	}
	s.leaf = pair.Leaf
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(s.opts.Server.CA) {
		return errors.New("authority: no certificate in it")
	}
	if err := s.chain(s.leaf, x509.ExtKeyUsageServerAuth); err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	if len(s.leaf.DNSNames)+len(s.leaf.IPAddresses) == 0 {
		return errors.New("server certificate: it names no host, so no client would accept it")
	}
	if s.opts.Client == nil || s.opts.Verify == nil {
		return errors.New("a client certificate is needed, and a way to verify the engine")
	}
	if err := s.chain(s.opts.Client, x509.ExtKeyUsageClientAuth); err != nil {
		return fmt.Errorf("client certificate: the engine would refuse it: %w", err)
	}
	return nil
}

func (s *Setup) chain(leaf *x509.Certificate, usage x509.ExtKeyUsage) error {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: s.roots, CurrentTime: s.host.Now(), KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func (s *Setup) step(name, format string, args ...any) {
	s.opts.Report(Step{Name: name, Text: fmt.Sprintf(format, args...)})
}

// finishing is a context for a rollback, which also runs after ctx has ended: bounded in time.
func (s *Setup) finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.opts.Timeout+time.Minute)
}
