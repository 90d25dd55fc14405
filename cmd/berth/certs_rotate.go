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
	Status  bool   `help:"Say where the rotation stands and what comes next; change nothing."`
	Finish  bool   `help:"Retire the old authority without asking who still needs it: their connections are cut."`
}

// Help is shown by berth certs rotate --help.
func (certsRotateCmd) Help() string {
	return `Each run does the next of three steps, whole or not at all; an interrupted one is completed by the next run:

  1  a new authority is trusted beside the old one: ca.pem holds both
  2  the certificates of the directory are reissued by the new authority
  3  the old authority is retired, once nobody presents a certificate of it

Between two steps, copy ca.pem and crl.pem to every machine that has them, and after step 2 give clients elsewhere new certificates (berth
certs bundle, berth certs issue). Guard and serve follow by themselves; a dockerd that serves TLS itself must be restarted
after each step. No request is lost on the way.

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
	if _, needed := errors.AsType[*pki.InUseError](err); needed {
		return &commandError{code: exitConflict, err: err, hint: `replace these first, or cut them off with "berth certs rotate --finish"`}
	}
	if err != nil {
		return err
	}
	switch {
	case at.Completed:
		std.progress("an interrupted command was completed; nothing else was done")
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
		return "give clients elsewhere their new certificates, restart a dockerd that serves TLS itself, then run berth certs rotate again"
	default:
		return "nothing; berth certs rotate begins a rotation"
	}
}

// stillPresented says who presents a certificate of the old authority, as far as what listens at the address shows it.
func stillPresented(ctx context.Context, address, dir string, old, fresh pki.Description) []string {
	now := observeServer(ctx, address, dir)
	var reasons []string
	switch {
	case now.server == nil:
		reasons = append(reasons, fmt.Sprintf("the server at %s cannot be asked (%v)", address, now.serverErr))
	case pki.AuthorityKeyID(now.server) != fresh.KeyID:
		reasons = append(reasons, fmt.Sprintf("the server at %s presents a certificate of another authority than the new one", address))
	}
	if now.server != nil && now.clientsErr != nil {
		reasons = append(reasons, fmt.Sprintf("the clients of %s are not known (%v)", address, now.clientsErr))
	}
	for _, client := range now.clients {
		if client.AuthorityKeyID == old.KeyID {
			reasons = append(reasons, fmt.Sprintf("%s (serial number %s) is connected with a certificate of it", client.Subject, client.Serial))
		}
	}
	return reasons
}
