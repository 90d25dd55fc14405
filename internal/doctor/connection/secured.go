package connection

import (
	"context"
	"fmt"
)

// Secured runs the test and checks only that the engine presents the certificate of Options.ServerCert and accepts our client,
// and that it refuses a client without certificate and one with a foreign certificate, in the handshake. answers
// means that the first two hold. Other faults of our own files are ignored.
func Secured(ctx context.Context, o Options) (answers bool, err error) {
	r, err := Run(ctx, o)
	if err != nil {
		return false, err
	}
	for _, name := range []string{stepServerFile, stepAuthenticate, stepNegotiate} {
		if step := r.step(name); step.Status != Pass {
			if failure, ok := r.FirstFailure(); ok && step.Code == earlierFailure {
				step = failure
			}
			return false, fmt.Errorf("the engine does not accept our client on %s: %s", r.Host, step.Detail)
		}
	}
	for _, name := range []string{stepNoCertificate, stepForeign} {
		if step := r.step(name); step.Status != Pass {
			return true, fmt.Errorf("the engine on %s does not refuse the clients that it should: %s", r.Host, step.Detail)
		}
	}
	return true, nil
}

// step returns a step by its name; the zero Step if it was not run.
func (r Report) step(name string) Step {
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	return Step{}
}
