// Package servertls has the certificates that Berth's own listener shows to clients: pairs of files, of which the name that a
// client asks for selects one, and which are read again when they change on disk.
//
// It knows files, names and validity. It does not know listeners, HTTP, settings, and who signed a certificate: clients decide
// whom they trust.
package servertls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"berth/internal/fileset"
	"berth/internal/pki"
)

// Pair names the files of one certificate: its PEM with the chain behind it, and its private key.
type Pair struct{ Cert, Key string }

// Options refine [Open]. Logger is required.
type Options struct {
	Logger *slog.Logger
	// Strict refuses keys that every user of this machine can read. Without it that is a warning.
	Strict bool
	// Changed is called after every reload that took a pair. It must not block. nil: not called.
	Changed func()
	// Issuer has more certificates; nil: there are none. It is asked for hosts that no pair is for.
	Issuer Issuer
	Now    func() time.Time // nil: time.Now
}

// Certificates are the pairs in use. Make them with [Open]; they are safe for concurrent use.
type Certificates struct {
	Options
	pairs   []Pair
	stamps  []fileset.Stamps // of each pair; only Open and reload use them
	current atomic.Pointer[[]tls.Certificate]
	local   *tls.Certificate // for clients on this machine, where there are no pairs
}

const (
	// checkEvery is the interval of checks for changed files.
	checkEvery = time.Second
	// remindEvery is the interval of checks for expiring certificates; each is logged once a day.
	remindEvery = time.Minute
)

// Open reads all pairs, of which there must be one at least if there is no issuer. Its error joins those of all pairs and names the files; each wraps
// one of package pki's errors, or one of the operating system.
func Open(ctx context.Context, pairs []Pair, o Options) (*Certificates, error) {
	if len(pairs) == 0 && o.Issuer == nil {
		return nil, errors.New("no certificate is named")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	c := &Certificates{Options: o, pairs: pairs, stamps: make([]fileset.Stamps, len(pairs))}
	all := make([]tls.Certificate, len(pairs))
	var faults []error
	for i := range pairs {
		var err error
		if all[i], err = c.read(i); err != nil {
			faults = append(faults, err)
			continue
		}
		c.warn(ctx, pairs[i], all[i].Leaf)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	c.current.Store(&all)
	if len(pairs) == 0 {
		var err error
		if c.local, err = newLocal(o.Now()); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// read reads the files of one pair together.
func (c *Certificates) read(i int) (pair tls.Certificate, err error) {
	p := c.pairs[i]
	c.stamps[i] = fileset.Stable([]string{p.Cert, p.Key}, func() { pair, err = Load(p) })
	if err == nil && c.Strict {
		err = KeyFault(p.Key)
	}
	return pair, err
}

// warn logs what is wrong with a pair that is used all the same: a restart with an expired certificate must not make Berth
// unavailable to clients that would tolerate it.
func (c *Certificates) warn(ctx context.Context, p Pair, leaf *x509.Certificate) {
	if err := Valid(leaf, c.Now()); err != nil {
		c.Logger.ErrorContext(ctx, "clients refuse the listener's certificate", "path", p.Cert, "error", err)
	}
	if err := KeyFault(p.Key); err != nil {
		c.Logger.WarnContext(ctx, "certificate needs attention", "path", p.Key, "problem", err.Error())
	}
}

// Get returns the certificate for a handshake: the first pair that is valid for the name that the client asks for and for its
// algorithms, or else the issuer's. For other names it is the first pair; without pairs, an error.
func (c *Certificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.isChallenge(hello) {
		return c.issued(hello)
	}
	if pair := c.find(hello); pair != nil {
		return pair, nil
	}
	if c.Issuer != nil && (len(c.pairs) == 0 || c.Issuer.Covers(hello.ServerName)) {
		return c.issued(hello)
	}
	return &(*c.current.Load())[0], nil
}

func (c *Certificates) find(hello *tls.ClientHelloInfo) *tls.Certificate {
	all := *c.current.Load()
	for i := range all {
		if hello.SupportsCertificate(&all[i]) == nil {
			return &all[i]
		}
	}
	return nil
}

// Covers reports whether a certificate is valid for a host, which is a name or an address without a port.
func (c *Certificates) Covers(host string) bool {
	return c.Issuer != nil && c.Issuer.Covers(host) ||
		slices.ContainsFunc(c.fileLeaves(), func(leaf *x509.Certificate) bool { return leaf.VerifyHostname(host) == nil })
}

// Leaves are the certificates in use, without their chains: of the pairs, in their order, and of the issuer.
func (c *Certificates) Leaves() []*x509.Certificate {
	leaves := c.fileLeaves()
	if c.Issuer != nil {
		leaves = append(leaves, c.Issuer.Leaves()...)
	}
	return leaves
}

func (c *Certificates) fileLeaves() []*x509.Certificate {
	var leaves []*x509.Certificate
	for _, pair := range *c.current.Load() {
		leaves = append(leaves, pair.Leaf)
	}
	return leaves
}

// Run reads files that have changed, and logs certificates that expire soon, until ctx ends.
func (c *Certificates) Run(ctx context.Context) error {
	check, remind := time.NewTicker(checkEvery), time.NewTicker(remindEvery)
	defer check.Stop()
	defer remind.Stop()
	var reminder pki.Reminder
	c.remind(ctx, &reminder)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			c.reload(ctx)
		case <-remind.C:
			c.remind(ctx, &reminder)
		}
	}
}

// reload reads the pairs whose files have changed. A pair that cannot be used leaves its previous version in use; so does an
// expired one whose previous version has not expired.
func (c *Certificates) reload(ctx context.Context) {
	next, taken := slices.Clone(*c.current.Load()), false
	for i, p := range c.pairs {
		if c.stamps[i].Equal(fileset.StampsOf([]string{p.Cert, p.Key})) {
			continue
		}
		pair, err := c.read(i)
		if err == nil && Valid(next[i].Leaf, c.Now()) == nil {
			if invalid := Valid(pair.Leaf, c.Now()); invalid != nil {
				err = fmt.Errorf("%s: %w", p.Cert, invalid)
			}
		}
		if err != nil {
			c.Logger.ErrorContext(ctx, "certificate reload failed, keeping the previous certificate", "path", p.Cert, "error", err)
			continue
		}
		c.warn(ctx, p, pair.Leaf)
		c.Logger.InfoContext(ctx, "certificate reloaded", "path", p.Cert, "expires_at", pair.Leaf.NotAfter)
		next[i], taken = pair, true
	}
	if taken {
		c.current.Store(&next)
		c.Changed()
	}
}

func (c *Certificates) remind(ctx context.Context, reminder *pki.Reminder) {
	for i, e := range c.Expiries() {
		remedy := "see the log for why it was not renewed"
		if i < len(c.pairs) {
			remedy = "renew " + c.pairs[i].Cert + " and its key: changed files are noticed without a restart"
		}
		reminder.Log(ctx, c.Logger, e, e.Certificate(), remedy)
	}
}

// Expiries are the ends of the certificates in use.
func (c *Certificates) Expiries() []pki.Expiry {
	var all []pki.Expiry
	for _, leaf := range c.Leaves() {
		all = append(all, ExpiryOf(leaf, c.Now()))
	}
	return all
}
