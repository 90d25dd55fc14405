package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"berth/internal/pki"
)

type certsCmd struct {
	Init certsInitCmd `cmd:"" help:"Make the certificate authority and the certificates of guard and client."`
	List certsListCmd `cmd:"" aliases:"ls" help:"Show the certificates of a directory and how long they live."`
}

type certsInitCmd struct {
	format
	Dir      string   `env:"DOCKER_CERT_PATH" default:"./docker/certs" placeholder:"DIR" help:"Directory of the certificates (DOCKER_CERT_PATH). Default: ${default}."`
	Env      string   `env:"DOCKER_ENV" enum:"development,test,staging,production" default:"development" placeholder:"KIND" help:"Kind of installation (DOCKER_ENV): ${enum}. Default: ${default}."`
	Host     []string `placeholder:"NAME" help:"Name or address under which clients reach the guard. Repeatable."`
	HostIP   string   `name:"host-ip" env:"DOCKER_HOST_IP" placeholder:"ADDRESS" help:"One more address (DOCKER_HOST_IP). Default: 127.0.0.1 in development and test."`
	HostName string   `env:"DOCKER_HOST_NAME" placeholder:"NAME" help:"One more name (DOCKER_HOST_NAME). Default: localhost in development and test."`
	Days     *int     `env:"DAYS" placeholder:"DAYS" help:"Life of every certificate (DAYS). Default: 3650 for the authority, 90 for the others."`
	KeyType  string   `enum:"ecdsa,ed25519" default:"ecdsa" placeholder:"TYPE" help:"Type of the private keys: ${enum}. Default: ${default}."`
	Force    bool     `help:"Replace all certificates, the authority included: every client needs its new one then."`
}

// Help is shown by berth certs init --help.
func (certsInitCmd) Help() string {
	return `Writes ca.pem, server-cert.pem and client-cert.pem with their keys. A complete and valid set stays as it is, so the
command can be repeated; an interrupted run is completed by the next one.

Whoever holds client-key.pem is as good as root on the engine's host, and whoever holds ca-key.pem can make such a key:
keep ca-key.pem elsewhere once the certificates are made.

Examples:

    berth certs init
    berth certs init --env production --host engine.example.org --host 10.0.0.5
    berth certs init --force --days 30 --key-type ed25519`
}

// Run makes the certificates unless they are there.
func (c *certsInitCmd) Run(_ context.Context, std *stdio) error {
	options := pki.InitOptions{
		Environment: pki.Environment(c.Env),
		Hosts:       slices.DeleteFunc(append(slices.Clone(c.Host), c.HostName, c.HostIP), func(h string) bool { return h == "" }),
		KeyType:     pki.KeyType(c.KeyType),
		Force:       c.Force,
	}
	if c.Days != nil {
		if *c.Days < 1 {
			return usageError(fmt.Errorf("a life of %d days (--days, DAYS) is none", *c.Days))
		}
		options.Days = *c.Days
	}
	if err := options.Validate(); err != nil {
		return withHint(usageError(err), `"berth certs init --help" says what is expected`)
	}
	result, err := pki.Init(c.Dir, options)
	if err != nil {
		return err
	}
	switch result.Outcome {
	case pki.Unchanged:
		std.progress("the certificates in %s are complete and valid: nothing to do", c.Dir)
	default:
		std.progress("%s the certificates in %s", result.Outcome, c.Dir)
	}
	for _, w := range result.Warnings {
		std.progress("warning: %s: %s", w.Path, w.Text)
	}
	return c.table(std, result, certificateRows(result.Certificates))
}

type certsListCmd struct {
	format
	Dir string `env:"DOCKER_CERT_PATH" default:"./docker/certs" placeholder:"DIR" help:"Directory of the certificates (DOCKER_CERT_PATH). Default: ${default}."`
}

// Help is shown by berth certs list --help.
func (certsListCmd) Help() string {
	return `Private keys are not read. JSON has every certificate's whole fingerprint.

Examples:

    berth certs list
    berth certs list --dir /etc/berth/certs --output json`
}

// Run shows the certificates.
func (c *certsListCmd) Run(_ context.Context, std *stdio) error {
	certificates, err := pki.DescribeDir(c.Dir)
	if err != nil {
		return err
	}
	return c.table(std, certificates, certificateRows(certificates))
}

func certificateRows(certificates []pki.Description) [][]string {
	rows := [][]string{{"FILE", "KIND", "SUBJECT", "NAMES", "KEY", "EXPIRES", "FINGERPRINT"}}
	for _, c := range certificates {
		rows = append(rows, []string{
			c.Path, string(c.Kind), c.Subject, strings.Join(slices.Concat(c.DNSNames, c.IPAddresses), ","), c.KeyType,
			c.NotAfter.Format(time.DateOnly), c.FingerprintSHA256[:16] + "…",
		})
	}
	return rows
}
