package main

import (
	"context"
	"errors"

	"berth/internal/pki"
)

type certsIssueCmd struct {
	format
	certDir
	authorityKey
	serverNames
	lifetime
	Kind    string `enum:"client,server" default:"client" placeholder:"KIND" help:"Kind of the certificate: ${enum}. Default: ${default}."`
	Name    string `placeholder:"NAME" help:"Its common name, which the guard logs. Required for a client; default for a server: its first host."`
	Out     string `required:"" placeholder:"DIR" help:"Directory of the new files, created if it is missing."`
	KeyType string `enum:"ecdsa,ed25519" default:"ecdsa" placeholder:"TYPE" help:"Type of the private key: ${enum}. Default: ${default}."`
	Force   bool   `help:"Replace an existing certificate."`
}

// Help is shown by berth certs issue --help.
func (certsIssueCmd) Help() string {
	return `Writes the certificate, its key and the trusted authorities into a separate directory: everything that its holder needs.
The directory of the authority records the certificate, so that it can be listed and revoked.

Examples:

    berth certs issue --name alice --out alice-certs
    berth certs issue --kind server --env production --host engine2.example.org --out engine2-certs`
}

// Run issues the certificate.
func (c *certsIssueCmd) Run(_ context.Context, std *stdio) error {
	options := pki.IssueOptions{
		Kind: pki.Kind(c.Kind), Name: c.Name, Environment: pki.Environment(c.Env), Days: int(c.Days), KeyType: pki.KeyType(c.KeyType),
		Out: c.Out, CAKey: c.CAKey, Force: c.Force,
	}
	if options.Kind == pki.KindServer {
		options.Hosts = c.hosts()
	} else if len(c.Host) > 0 {
		return usageError(errors.New("a client certificate has a --name and no --host"))
	}
	if err := options.Validate(); err != nil {
		return withHint(usageError(err), `see "berth certs issue --help"`)
	}
	issued, err := pki.Issue(c.Dir, options)
	if err != nil {
		return err
	}
	std.progress("issued %s with its key and the authorities to trust", issued.Certificate.Path)
	printWarnings(std, issued.Warnings)
	return c.table(std, issued, certificateRows([]pki.Description{issued.Certificate}))
}

type certsRevokeCmd struct {
	format
	certDir
	authorityKey
	Which string `arg:"" help:"The certificate: its file, serial number, or SHA-256 fingerprint."`
	Force bool   `help:"Revoke a serial number that this directory has no record of; replace an unreadable crl.pem by one made from the records."`

	forgetRevocations
}

// Help is shown by berth certs revoke --help.
func (certsRevokeCmd) Help() string {
	return `Adds the certificate to crl.pem beside ca.pem. A guard that reads this directory refuses it within a second and closes its
open connections; copy crl.pem to other machines. The directory records the revocation: a guard does not start with a crl.pem
that is missing or older than the records, and "berth certs init --dir DIR" recreates it from them.

dockerd does not support revocation. Use a guard in front of it, or a new authority (berth certs rotate).

Examples:

    berth certs revoke alice-certs/client-cert.pem
    berth certs revoke 8d2f1c0a9b3e4d5f60718293a4b5c6d7`
}

// Run revokes the certificate.
func (c *certsRevokeCmd) Run(_ context.Context, std *stdio) error {
	result, err := pki.Revoke(c.Dir, c.Which, pki.RevokeOptions{CAKey: c.CAKey, Force: c.Force, ForgetRevocations: c.Forget})
	if err != nil {
		return err
	}
	if result.Outcome == pki.Unchanged {
		std.progress("already revoked: nothing to do")
	} else {
		std.progress("revoked; guards that read %s refuse it within a second. dockerd does not support revocation: it needs a guard in "+
			`front, or "berth certs rotate"`, result.List)
	}
	printWarnings(std, result.Warnings)
	fields := [][2]string{{"serial", result.Serial}, {"list", result.List}, {"number", result.Number}}
	if result.Certificate != nil {
		fields = append(fields, [2]string{"subject", result.Certificate.Subject})
	}
	return c.print(std, result, fields)
}
