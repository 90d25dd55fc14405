package dockerd

import (
	"context"
	"fmt"

	"berth/internal/engineaddr"
)

// PlanIsolation plans what ApplyIsolation would do. socket is the engine's; when it does not answer, only the networks are
// closed that have bridges with a name of [SessionBridges].
func (s *Setup) PlanIsolation(ctx context.Context, socket string) (*Plan, error) {
	plan := &Plan{}
	if endpoint := engineaddr.ForSocket(socket); s.answers(ctx, endpoint) == nil {
		plan.Engine = endpoint
	} else {
		plan.Notes = append(plan.Notes, fmt.Sprintf("the engine does not answer on %s: run this again once it does", socket))
	}
	var err error
	if plan.isolation, err = s.isolationOf(ctx, plan.Engine); err != nil {
		return nil, err
	}
	states, err := s.lookAtChains(ctx, plan.isolation)
	if err != nil {
		return nil, refuse("run as root, with iptables installed", "%w", err)
	}
	plan.chains = outdated(states)
	plan.Steps, plan.Diffs = describeChains(plan.chains, plan.isolation)
	return plan, nil
}

// ApplyIsolation does what PlanIsolation planned. A partial change is undone.
func (s *Setup) ApplyIsolation(ctx context.Context, plan *Plan) error {
	err := s.closeToSessions(ctx, plan.isolation, plan.chains)
	if err == nil || anyThere(plan.chains) {
		return err
	}
	back, cancel := s.finishing(ctx)
	defer cancel()
	return &FailedError{Step: stepFirewall, Err: err, Back: s.Open(back)}
}

// PlanOpening plans what Open would do. Chains that a set-up made are taken back with that set-up, which is a RefusedError
// here.
func (s *Setup) PlanOpening(ctx context.Context) (*Plan, error) {
	plan := &Plan{}
	j, err := loadJournal(s.paths.journal)
	if err != nil {
		return nil, err
	}
	states, err := s.lookAtChains(ctx, isolation{})
	if err != nil {
		return nil, refuse("run as root, with iptables installed", "%w", err)
	}
	for _, state := range states {
		if !state.there {
			continue
		}
		if j != nil && j.first().Isolated {
			return nil, refuse(`take the whole set-up back with "berth docker setup-tls --undo"`, "berth docker setup-tls has closed this machine to sessions")
		}
		plan.Steps = append(plan.Steps, Step{stepFirewall, fmt.Sprintf("remove the chains %s and %s of %s", InputChain, ForwardChain, state.program)})
		plan.Diffs = append(plan.Diffs, unified(state.program, ruleText(state.rules), nil))
	}
	return plan, nil
}
