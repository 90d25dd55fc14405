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
	Kind    string `enum:"client,server" default:"client" placeholder:"KIND" help:"What the certificate is good for: ${enum}. Default: ${default}."`
	Name    string `placeholder:"NAME" help:"Its common name: what the guard logs of a client. Needed for a client; default for a server: its first host."`
	Out     string `required:"" placeholder:"DIR" help:"Directory of the new files, made if it is not there."`
	KeyType string `enum:"ecdsa,ed25519" default:"ecdsa" placeholder:"TYPE" help:"Type of the private key: ${enum}. Default: ${default}."`
	Force   bool   `help:"Replace a certificate that is there already."`
}

// Help is shown by berth certs issue --help.
func (certsIssueCmd) Help() string {
	return `Writes the certificate, its key and the authorities to trust into a directory of their own: all that its holder needs.
The directory of the authority remembers what was issued, so that it can be listed and revoked.

Examples:

    berth certs issue --name alice --out alice-certs
    berth certs issue --kind server --env production --host engine2.example.org --out engine2-certs`
}

// Run makes the certificate.
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
		return withHint(usageError(err), `"berth certs issue --help" says what is expected`)
	}
	issued, err := pki.Issue(c.Dir, options)
	if err != nil {
		return err
	}
	std.progress("issued %s with its key and the authorities to trust", issued.Certificate.Path)
	warn(std, issued.Warnings)
	return c.table(std, issued, certificateRows([]pki.Description{issued.Certificate}))
}

type certsRevokeCmd struct {
	format
	certDir
	authorityKey
	Which string `arg:"" help:"The certificate: its file, serial number, or SHA-256 fingerprint."`
	Force bool   `help:"Revoke a serial number that this directory knows nothing of; begin a crl.pem that cannot be read anew, with what the records know to be revoked."`

	forgetRevocations
}

// Help is shown by berth certs revoke --help.
func (certsRevokeCmd) Help() string {
	return `Adds the certificate to crl.pem beside ca.pem. A guard that reads this directory refuses it within a second and cuts its open
connections; on other machines, copy crl.pem. The records of the directory remember what was revoked: a guard does not start with
a crl.pem that is missing or older than they say, and "berth certs init --dir DIR" makes it anew from them.

dockerd knows no revocation. Two ways work: a guard in front of it, or a new authority (berth certs rotate).

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
		std.progress("it was revoked before: nothing to do")
	} else {
		std.progress("revoked; guards that read %s refuse it within a second. dockerd knows no revocation: it needs a guard in front, "+
			`or "berth certs rotate"`, result.List)
	}
	warn(std, result.Warnings)
	fields := [][2]string{{"serial", result.Serial}, {"list", result.List}, {"number", result.Number}}
	if result.Certificate != nil {
		fields = append(fields, [2]string{"subject", result.Certificate.Subject})
	}
	return c.print(std, result, fields)
}
