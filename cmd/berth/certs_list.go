package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"berth/internal/atomicfile"
	"berth/internal/config"
	"berth/internal/pki"
)

// engineAddress is the flag of commands that query the engine or guard; embed it.
type engineAddress struct {
	Address string `env:"DOCKER_HOST" default:"tcp://127.0.0.1:2376" placeholder:"ADDRESS" help:"Engine or guard to query for the certificates in use (DOCKER_HOST). Default: ${default}."`
}

type certsListCmd struct {
	format
	certDir
	engineAddress
}

// Help is shown by berth certs list --help.
func (certsListCmd) Help() string {
	return `Lists the certificates in the directory, and those that were issued from it into other directories. A server certificate is
in use when the engine or guard at the address presents it; a client certificate when Berth is configured with it or a guard
has a connection with it. A question mark means unknown. The pin is for DOCKER_TLS_PIN, the serial number for berth certs
revoke.

Private keys are not read. JSON has the full fingerprints.

Examples:

    berth certs list
    berth certs list --dir /etc/berth/certs --output json`
}

// Run shows the certificates.
func (c *certsListCmd) Run(ctx context.Context, std *stdio) error {
	observed := observeServer(ctx, c.Address, c.Dir)
	usage := pki.Usage{Client: configuredClient(std)}
	if observed.server != nil {
		usage.Server = pki.Fingerprint(observed.server)
	}
	if observed.clientsErr == nil {
		usage.Connected = []string{}
		for _, client := range observed.clients {
			usage.Connected = append(usage.Connected, client.FingerprintSHA256)
		}
	}
	certificates, err := pki.List(c.Dir, usage)
	if err != nil {
		return err
	}
	rows := [][]string{{"FILE", "KIND", "SUBJECT", "NAMES", "KEY", "EXPIRES", "FINGERPRINT", "SERIAL", "IN USE", "PIN"}}
	for _, l := range certificates {
		rows = append(rows, append(certificateCells(l.Description), useOf(l), l.Pin))
	}
	return c.table(std, certificates, rows)
}

func useOf(l pki.Listing) string {
	switch {
	case l.Revoked:
		return "revoked"
	case l.InUse == nil:
		return "?"
	case *l.InUse:
		return "yes"
	default:
		return "no"
	}
}

// configuredClient is the client certificate of the settings, also when other settings have faults.
func configuredClient(std *stdio) string {
	cfg, err := config.Load(config.Options{SystemFile: systemConfig(), Environ: std.Environ})
	if _, faulty := errors.AsType[*config.FaultsError](err); err != nil && !faulty {
		return ""
	}
	return cfg.Docker.ClientCert
}

type certsVerifyCmd struct {
	format
	certDir
	authorityKey
	Host []string `placeholder:"NAME" help:"Name or address that the server certificate must cover. Repeatable."`
}

// Help is shown by berth certs verify --help.
func (certsVerifyCmd) Help() string {
	return `Checks permissions, authorities, key pairs, chains, names, usages, dates and the revocation list. Changes nothing. The exit
code is 1 when a check fails; warnings do not count.

Examples:

    berth certs verify
    berth certs verify --host engine.example.org --output json`
}

// Run checks everything.
func (c *certsVerifyCmd) Run(_ context.Context, std *stdio) error {
	findings, err := pki.Verify(c.Dir, pki.VerifyOptions{Hosts: c.Host, CAKey: c.CAKey})
	if err != nil {
		return err
	}
	rows := [][]string{{"STATUS", "CHECK", "FILE", "SEEN", "REMEDY"}}
	failed := 0
	for _, f := range findings {
		if f.Status == pki.Fail {
			failed++
		}
		rows = append(rows, []string{string(f.Status), f.Code, f.Path, f.Text, f.Remedy})
	}
	if err := c.table(std, findings, rows); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks of %s failed", failed, len(findings), c.Dir)
	}
	return nil
}

type certsBundleCmd struct {
	format
	certDir
	Out   string `placeholder:"DIR" xor:"out,tar" required:"" help:"Directory to write to, created if it is missing."`
	Tar   string `placeholder:"FILE" xor:"out,tar" required:"" help:"Tar archive to write instead; - is standard output."`
	Force bool   `help:"Replace existing files."`
}

// Help is shown by berth certs bundle --help.
func (certsBundleCmd) Help() string {
	return `Exports ca.pem, client-cert.pem and client-key.pem for the machine that Berth runs on. The bundle contains a private key: keep
it secret. The keys of the authority and of the server are never part of it. To revoke machines one by one, give each its own
certificate with berth certs issue.

Examples:

    berth certs bundle --out bundle
    berth certs bundle --tar - | ssh berth@app.example.org tar -xf - -C certs`
}

// Run writes the bundle.
func (c *certsBundleCmd) Run(_ context.Context, std *stdio) error {
	now := time.Now()
	var written []string
	var err error
	switch c.Tar {
	case "":
		written, err = pki.BundleDir(c.Dir, c.Out, c.Force, now)
	case "-":
		_, err = pki.BundleTar(c.Dir, std.Out, now)
		return err
	default:
		written, err = c.writeTar(now)
	}
	if err != nil {
		return err
	}
	rows := [][]string{{"FILE"}}
	for _, name := range written {
		rows = append(rows, []string{name})
	}
	return c.table(std, map[string][]string{"files": written}, rows)
}

func (c *certsBundleCmd) writeTar(now time.Time) ([]string, error) {
	if _, err := os.Lstat(c.Tar); err == nil && !c.Force {
		return nil, &pki.FileError{Path: c.Tar, Err: pki.ErrExists, Advice: "choose another file, or --force"}
	}
	var bundle bytes.Buffer
	if _, err := pki.BundleTar(c.Dir, &bundle, now); err != nil {
		return nil, err
	}
	if err := atomicfile.Write(c.Tar, bundle.Bytes(), 0o600, ""); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return []string{c.Tar}, nil
}
