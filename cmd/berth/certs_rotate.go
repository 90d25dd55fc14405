package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/internal/pki"
)

type certsRotateCmd struct {
	format
	certDir
	engineAddress
	lifetime
	KeyType string `enum:",ecdsa,ed25519" default:"" placeholder:"TYPE" help:"Type of the new authority's key: ecdsa or ed25519. Default: the old one's."`
	Status  bool   `help:"Show the stage of the rotation and the next step; change nothing."`
	Finish  bool   `help:"Retire the old authority although clients may still need it: their connections are closed."`
}

// Help is shown by berth certs rotate --help.
func (certsRotateCmd) Help() string {
	return `Each run does the next of three steps, atomically; the next run completes an interrupted one:

  1  a new authority is trusted beside the old one: ca.pem holds both
  2  the certificates of the directory are reissued by the new authority
  3  the old authority is retired, once its certificates are not in use any more

Between two steps, copy ca.pem and crl.pem to every machine that has them, and after step 2 give clients on other machines new
certificates (berth certs bundle, berth certs issue). Guard and serve reload by themselves; a dockerd that serves TLS itself
must be restarted after each step. No request is lost.

Examples:

    berth certs rotate --status
    berth certs rotate
    berth certs rotate --finish`
}

// Run does one step.
func (c *certsRotateCmd) Run(ctx context.Context, std *stdio) error {
	if c.Status {
		at, err := pki.RotationStatus(c.Dir)
		if err != nil {
			return err
		}
		return c.show(std, at, nextStep(at.Stage))
	}
	at, err := pki.Rotate(c.Dir, pki.RotateOptions{
		KeyType: pki.KeyType(c.KeyType), Days: int(c.Days), Finish: c.Finish,
		InUse: func(old, fresh pki.Description) []string { return stillPresented(ctx, c.Address, c.Dir, old, fresh) },
	})
	if _, inUse := errors.AsType[*pki.InUseError](err); inUse {
		return &commandError{code: exitConflict, err: err, hint: `replace these first, or retire the authority anyway with "berth certs rotate --finish"`}
	}
	if err != nil {
		return err
	}
	switch {
	case at.Completed:
		std.progress("completed an interrupted command; nothing else was done")
	case at.Stage == pki.StageTrusted:
		std.progress("step 1 of 3: %s is trusted beside %s", at.New.Subject, at.Old.Subject)
	case at.Stage == pki.StageReissued:
		std.progress("step 2 of 3: the certificates in %s are reissued by %s", c.Dir, at.New.Subject)
	default:
		std.progress("step 3 of 3: the old authority is retired")
	}
	return c.show(std, at, nextStep(at.Stage))
}

func (c *certsRotateCmd) show(std *stdio, at pki.Rotation, next string) error {
	fields := [][2]string{{"stage", string(at.Stage)}}
	if at.Old != nil && at.New != nil {
		fields = append(fields, [2]string{"since", at.Started.Format(time.RFC3339)}, [2]string{"old", at.Old.Subject}, [2]string{"new", at.New.Subject})
	}
	return c.print(std, at, append(fields, [2]string{"next", next}))
}

func nextStep(stage pki.Stage) string {
	switch stage {
	case pki.StageTrusted:
		return "copy ca.pem and crl.pem to every machine that has them, restart a dockerd that serves TLS itself, then run berth certs rotate again"
	case pki.StageReissued:
		return "give clients on other machines their new certificates, restart a dockerd that serves TLS itself, then run berth certs rotate again"
	default:
		return "nothing; berth certs rotate starts a rotation"
	}
}

// stillPresented lists the uses of certificates of the old authority, as far as the server at the address shows them.
func stillPresented(ctx context.Context, address, dir string, old, fresh pki.Description) []string {
	observed := observeServer(ctx, address, dir)
	var reasons []string
	switch {
	case observed.server == nil:
		reasons = append(reasons, fmt.Sprintf("the server at %s cannot be queried (%v)", address, observed.serverErr))
	case pki.AuthorityKeyID(observed.server) != fresh.KeyID:
		reasons = append(reasons, fmt.Sprintf("the server at %s presents a certificate that the new authority did not issue", address))
	}
	if observed.server != nil && observed.clientsErr != nil {
		reasons = append(reasons, fmt.Sprintf("the clients of %s are not known (%v)", address, observed.clientsErr))
	}
	for _, client := range observed.clients {
		if client.AuthorityKeyID == old.KeyID {
			reasons = append(reasons, fmt.Sprintf("%s (serial number %s) is connected with a certificate of it", client.Subject, client.Serial))
		}
	}
	return reasons
}
