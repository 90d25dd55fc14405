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
	Force   bool          `help:"Renew all, whatever their age."`
	Bundle  string        `placeholder:"DIR" help:"Directory that holds a bundle of the client's files, made by berth certs bundle: it gets the new ones."`
	Every   time.Duration `placeholder:"TIME" help:"Go on, and look again after so long, such as 12h. Default: once."`
	KeepKey bool          `help:"Keep the private keys, and with them the pins. A revoked certificate gets a new key all the same."`
}

// Help is shown by berth certs renew --help.
func (certsRenewCmd) Help() string {
	return `Replaces the certificates of the directory that are past two thirds of their life, and those that were revoked, with the
same subject, names and life. Guard and serve use the new ones without a restart; a dockerd that serves TLS itself must be
restarted. Made to be run every day: it changes nothing before its time. As root it leaves each file to the user who owned
it before.

A certificate that was replaced is good until it expires; revoke it if its key may be in wrong hands.

Examples:

    berth certs renew
    berth certs renew --force --keep-key
    berth certs renew --bundle docker/client --every 12h`
}

// Run renews what has come of age, once or until ctx ends.
func (c *certsRenewCmd) Run(ctx context.Context, std *stdio) error {
	if c.Every < 0 || c.Every > 0 && c.Every < time.Second {
		return usageError(errors.New("--every is less than a second"))
	}
	// What is wrong at the beginning is wrong with the call.
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
		std.progress("%s is good until %s: nothing to do", kept.Path, kept.NotAfter.Format("2006-01-02"))
	}
	for _, made := range result.Renewed {
		std.progress("renewed %s", made.Path)
	}
	warn(std, result.Warnings)
	if err := c.handOut(std); err != nil {
		return err
	}
	return c.table(std, result, certificateRows(append(result.Renewed, result.Kept...)))
}

// handOut brings the bundle up to date.
func (c *certsRenewCmd) handOut(std *stdio) error {
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
	std.progress("the bundle in %s has the certificates of %s now", c.Bundle, c.Dir)
	return nil
}
