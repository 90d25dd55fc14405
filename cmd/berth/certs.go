package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/internal/pki"
)

type certsCmd struct {
	Init   certsInitCmd   `cmd:"" help:"Create the certificate authority and the certificates of guard and client."`
	Issue  certsIssueCmd  `cmd:"" help:"Issue one more client or server certificate."`
	Renew  certsRenewCmd  `cmd:"" help:"Replace the certificates that are past two thirds of their life."`
	Revoke certsRevokeCmd `cmd:"" help:"Revoke a certificate: guards refuse it."`
	List   certsListCmd   `cmd:"" aliases:"ls" help:"List certificates, their expiry, and whether they are in use."`
	Verify certsVerifyCmd `cmd:"" help:"Verify the certificates of a directory, their keys and their permissions."`
	Bundle certsBundleCmd `cmd:"" help:"Export the files for a client machine, as a directory or a tar archive."`
	Rotate certsRotateCmd `cmd:"" help:"Replace the authority in three steps, without downtime."`
}

// certDir is the flag of commands that work on a certificate directory; embed it.
type certDir struct {
	Dir string `env:"DOCKER_CERT_PATH" default:"${cert_dir}" placeholder:"DIR" help:"Directory of the certificates (DOCKER_CERT_PATH). Default: ${default}."`
}

// authorityKey is the flag of commands that sign; embed it.
type authorityKey struct {
	CAKey string `name:"ca-key" placeholder:"FILE" help:"The authority's key, if it is kept elsewhere. Default: ca-key.pem of the directory."`
}

// serverNames are the flags of commands that create server certificates; embed them.
type serverNames struct {
	Env      string   `env:"DOCKER_ENV" enum:"development,test,staging,production" default:"development" placeholder:"KIND" help:"Kind of installation (DOCKER_ENV): ${enum}. Default: ${default}."`
	Host     []string `placeholder:"NAME" help:"Name or address under which clients reach the server. Repeatable."`
	HostIP   string   `name:"host-ip" env:"DOCKER_HOST_IP" placeholder:"ADDRESS" help:"One more address (DOCKER_HOST_IP). Default: 127.0.0.1 in development and test."`
	HostName string   `env:"DOCKER_HOST_NAME" placeholder:"NAME" help:"One more name (DOCKER_HOST_NAME). Default: localhost in development and test."`
}

func (n serverNames) hosts() []string {
	return slices.DeleteFunc(append(slices.Clone(n.Host), n.HostName, n.HostIP), func(h string) bool { return h == "" })
}

// lifetime is the flag of commands that create certificates; embed it.
type lifetime struct {
	Days days `env:"DAYS" placeholder:"DAYS" help:"Lifetime of every certificate that is created (DAYS). Default: 3650 for an authority, 90 for the others."`
}

// days is a lifetime in days, 1 or more; 0: not set.
type days int

// UnmarshalText parses a number of days.
func (d *days) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 {
		return fmt.Errorf("expected a number of days, 1 or more, but got %q", text)
	}
	*d = days(n)
	return nil
}

// printWarnings prints what is usable and should be corrected.
func printWarnings(std *stdio, warnings []pki.Warning) {
	for _, w := range warnings {
		std.progress("warning: %s: %s", w.Path, w.Text)
	}
}

type certsInitCmd struct {
	format
	certDir
	serverNames
	lifetime
	KeyType string `enum:"ecdsa,ed25519" default:"ecdsa" placeholder:"TYPE" help:"Type of the private keys: ${enum}. Default: ${default}."`
	Force   bool   `help:"Replace all certificates and the authority: every client needs a new certificate then."`

	forgetRevocations
}

type forgetRevocations struct {
	Forget bool `name:"forget-revocations" help:"Create an empty crl.pem where it is lost and issued.json has no record of its entries: all revoked certificates are accepted again."`
}

// Help is shown by berth certs init --help.
func (certsInitCmd) Help() string {
	return `Writes ca.pem, server-cert.pem and client-cert.pem with their keys. A complete and valid set stays as it is, so the
command can be repeated; the next run completes an interrupted one. A lost crl.pem is recreated from the records where the
authority's key is: repeat the command with --dir alone. Without --force no existing file is replaced; a --host that the
server's certificate does not cover is an error.

client-key.pem gives root access to the engine's host, and ca-key.pem can sign further client certificates: move ca-key.pem
to another place once the certificates are created.

Examples:

    berth certs init
    berth certs init --env production --host engine.example.org --host 10.0.0.5
    berth certs init --force --days 30 --key-type ed25519`
}

// Run creates the certificates unless they exist.
func (c *certsInitCmd) Run(_ context.Context, std *stdio) error {
	options := pki.InitOptions{
		Environment: pki.Environment(c.Env), Hosts: c.hosts(), Days: int(c.Days), KeyType: pki.KeyType(c.KeyType), Force: c.Force, ForgetRevocations: c.Forget,
	}
	if err := options.Validate(); err != nil {
		return withHint(usageError(err), `see "berth certs init --help"`)
	}
	result, err := pki.Init(c.Dir, options)
	if errors.Is(err, pki.ErrNoHosts) {
		return withHint(usageError(err), `see "berth certs init --help"`)
	}
	if err != nil {
		return err
	}
	switch {
	case result.List != "":
		std.progress("recreated %s with %d revoked certificates; everything else in %s is unchanged", result.List, result.Revoked, c.Dir)
	case result.Outcome == pki.Completed:
		std.progress("completed the interrupted change of the certificates in %s", c.Dir)
	case result.Outcome == pki.Unchanged:
		std.progress("the certificates in %s are complete and valid: nothing to do", c.Dir)
	default:
		std.progress("%s the certificates in %s", result.Outcome, c.Dir)
	}
	printWarnings(std, result.Warnings)
	return c.table(std, result, certificateRows(result.Certificates))
}

func certificateRows(certificates []pki.Description) [][]string {
	rows := [][]string{{"FILE", "KIND", "SUBJECT", "NAMES", "KEY", "EXPIRES", "FINGERPRINT", "SERIAL"}}
	for _, c := range certificates {
		rows = append(rows, certificateCells(c))
	}
	return rows
}

func certificateCells(c pki.Description) []string {
	return []string{
		c.Path, string(c.Kind), c.Subject, strings.Join(slices.Concat(c.DNSNames, c.IPAddresses), ","), c.KeyType,
		c.NotAfter.Format(time.DateOnly), shortFingerprint(c), c.Serial,
	}
}

func shortFingerprint(c pki.Description) string {
	if len(c.FingerprintSHA256) < 16 {
		return c.FingerprintSHA256
	}
	return c.FingerprintSHA256[:16] + "…"
}
