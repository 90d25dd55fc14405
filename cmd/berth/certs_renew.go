package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"time"

	"berth/internal/pki"
)

type certsRenewCmd struct {
	format
	certDir
	authorityKey
	lifetime
	Force   bool          `help:"Renew all certificates, also those that are not due."`
	Bundle  string        `placeholder:"DIR" help:"Directory with a bundle of the client's files, made by berth certs bundle: it is updated."`
	Every   time.Duration `placeholder:"TIME" help:"Keep running and repeat at this interval, such as 12h. Default: once."`
	KeepKey bool          `help:"Keep the private keys and thereby the pins. A revoked certificate gets a new key in any case."`
}

// Help is shown by berth certs renew --help.
func (certsRenewCmd) Help() string {
	return `Replaces the certificates of the directory that are past two thirds of their life, and those that were revoked, with the
same subject, names and lifetime. Guard and serve use the new ones without a restart; a dockerd that serves TLS itself must be
restarted. Run it every day: certificates that are not due are not changed. As root it keeps the owner of each file.

A replaced certificate stays valid until it expires; revoke it if its key may be compromised.

Examples:

    berth certs renew
    berth certs renew --force --keep-key
    berth certs renew --bundle docker/client --every 12h`
}

// Run renews the certificates that are due, once or until ctx is done.
func (c *certsRenewCmd) Run(ctx context.Context, std *stdio) error {
	if c.Every < 0 || c.Every > 0 && c.Every < time.Second {
		return usageError(errors.New("--every is less than a second"))
	}
	// A failure of the first run is one of the command.
	if err := c.renew(std); err != nil || c.Every == 0 {
		return err
	}
	again := time.NewTicker(c.Every)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			if err := c.renew(std); err != nil {
				std.report(err)
			}
		}
	}
}

func (c *certsRenewCmd) renew(std *stdio) error {
	result, err := pki.Renew(c.Dir, pki.RenewOptions{Force: c.Force, KeepKey: c.KeepKey, Days: int(c.Days), CAKey: c.CAKey})
	if err != nil {
		return err
	}
	for _, kept := range result.Kept {
		std.progress("%s is valid until %s: nothing to do", kept.Path, kept.NotAfter.Format(time.DateOnly))
	}
	for _, made := range result.Renewed {
		std.progress("renewed %s", made.Path)
	}
	printWarnings(std, result.Warnings)
	if err := c.updateBundle(std); err != nil {
		return err
	}
	return c.table(std, result, certificateRows(append(result.Renewed, result.Kept...)))
}

// updateBundle brings the bundle up to date.
func (c *certsRenewCmd) updateBundle(std *stdio) error {
	if c.Bundle == "" {
		return nil
	}
	current := true
	for _, name := range []string{pki.CACertFile, pki.ClientCertFile, pki.ClientKeyFile} {
		ours, err := pki.ReadFile(filepath.Join(c.Dir, name))
		if err != nil {
			return err
		}
		theirs, err := pki.ReadFile(filepath.Join(c.Bundle, name))
		if err != nil && !errors.Is(err, pki.ErrMissing) {
			return err
		}
		current = current && bytes.Equal(ours, theirs)
	}
	if current {
		return nil
	}
	if _, err := pki.BundleDir(c.Dir, c.Bundle, true, time.Now()); err != nil {
		return err
	}
	std.progress("updated the bundle in %s with the certificates of %s", c.Bundle, c.Dir)
	return nil
}
