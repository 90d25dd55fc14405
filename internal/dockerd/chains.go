package dockerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// chainState is what one program has of our chains.
type chainState struct {
	program string
	there   bool     // at least one chain
	current bool     // exactly what is wanted
	rules   []string // of the chains as they are, as iptables prints them, and what enters them
	wanted  []string // the same as it shall be
}

// lookAtChains compares the chains of each family with what is wanted. A program that does not work gives an error for
// IPv4 and is left out for IPv6, which sessions' networks do not have.
func (s *Setup) lookAtChains(ctx context.Context, want isolation) ([]chainState, error) {
	var all []chainState
	for _, program := range families {
		if _, err := s.list(ctx, program, defaultChain); err != nil {
			if program == families[1] {
				continue
			}
			return nil, err
		}
		state, err := s.lookAtFamily(ctx, program, want)
		if err != nil {
			return nil, err
		}
		all = append(all, state)
	}
	return all, nil
}

func (s *Setup) lookAtFamily(ctx context.Context, program string, want isolation) (chainState, error) {
	state := chainState{program: program, current: true, wanted: want.text(program)}
	for _, chain := range ownChains {
		have, err := s.list(ctx, program, chain)
		if err != nil { // there is no such chain
			state.current = false
			continue
		}
		state.there = true
		for _, rule := range have {
			state.rules = append(state.rules, "-A "+chain+" "+rule)
		}
		same, err := s.sameRules(ctx, program, chain, have, want.rules(program, chain))
		if err != nil {
			return state, err
		}
		state.current = state.current && same
	}
	for _, h := range hooks {
		first, err := s.entersFirst(ctx, program, h)
		if errors.Is(err, errNoParent) {
			continue
		}
		if err != nil {
			return state, err
		}
		enters := "-A " + h.parent + " -j " + h.chain
		if first {
			state.rules = append(state.rules, enters)
		}
		state.current = state.current && first
		state.wanted = append(state.wanted, enters)
	}
	return state, nil
}

// list returns the rules of a chain as iptables prints them behind its name. It is an error if there is no such chain.
func (s *Setup) list(ctx context.Context, program, chain string) (rules []string, err error) {
	text, err := s.host.Run(ctx, program, "-w", "-S", chain)
	if err != nil {
		return nil, fmt.Errorf("look at the firewall: %w", err)
	}
	for line := range strings.Lines(text) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+chain+" "); ok {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// sameRules reports whether a chain has the wanted rules. Versions of iptables print some rules differently, so iptables
// itself is asked about what does not look the same.
func (s *Setup) sameRules(ctx context.Context, program, chain string, have, want []string) (bool, error) {
	if len(have) != len(want) {
		return false, nil
	}
	for i, rule := range want {
		if have[i] == rule {
			continue
		}
		there, err := s.hasRule(ctx, Rule{Program: program, Chain: chain, Match: strings.Fields(rule)})
		if err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

// closeToSessions sets the chains of the given families. Each chain is replaced at once, so that there is no moment
// without rules.
func (s *Setup) closeToSessions(ctx context.Context, want isolation, states []chainState) error {
	for _, state := range states {
		if state.current {
			continue
		}
		// iptables-restore keeps what is not named, and empties the chains that are.
		input := []string{"*filter", ":" + InputChain + " - [0:0]", ":" + ForwardChain + " - [0:0]"}
		input = append(append(input, want.text(state.program)...), "COMMIT")
		args := append([]string{"-c", `program=$1; shift; printf '%s\n' "$@" | "$program-restore" -w --noflush`, "sh", state.program}, input...)
		if _, err := s.host.Run(ctx, "sh", args...); err != nil {
			return fmt.Errorf("close this machine to sessions: %w", err)
		}
		for _, h := range hooks {
			first, err := s.entersFirst(ctx, state.program, h)
			if errors.Is(err, errNoParent) || first {
				continue
			}
			if err != nil {
				return err
			}
			// One that stands further below does no harm, and there is no moment without any.
			if err := s.insertRule(ctx, h.rule(state.program)); err != nil {
				return err
			}
		}
	}
	return nil
}

// errNoParent is a chain of the engine's that it has not made yet.
var errNoParent = errors.New("there is no chain to enter ours from")

// entersFirst reports whether nothing is decided in the parent before our chain is entered. The engine keeps DOCKER-USER ahead
// of everything in FORWARD, so entering our chain there first is as good.
func (s *Setup) entersFirst(ctx context.Context, program string, h hook) (bool, error) {
	rules, err := s.list(ctx, program, h.parent)
	if err != nil && h.optional {
		return false, errNoParent
	}
	if err != nil || len(rules) == 0 {
		return false, err
	}
	if h.parent == forwarding && rules[0] == "-j "+userChain {
		return s.entersFirst(ctx, program, hook{parent: userChain, chain: h.chain})
	}
	return rules[0] == "-j "+h.chain, nil
}

// Open removes the chains that close this machine to sessions. It goes on past a fault.
func (s *Setup) Open(ctx context.Context) error {
	var faults []error
	for _, program := range families {
		there := func(chain string) bool {
			_, err := s.list(ctx, program, chain)
			return err == nil
		}
		if !there(defaultChain) {
			continue // it has set nothing either
		}
		for _, h := range hooks {
			if there(h.parent) && there(h.chain) {
				faults = append(faults, s.deleteRule(ctx, h.rule(program)))
			}
		}
		for _, chain := range ownChains {
			if !there(chain) {
				continue
			}
			for _, verb := range []string{"-F", "-X"} {
				if _, err := s.host.Run(ctx, program, "-w", verb, chain); err != nil {
					faults = append(faults, fmt.Errorf("remove the chain %s: %w", chain, err))
				}
			}
		}
	}
	return errors.Join(faults...)
}

// describeChains puts what is planned for the chains in words, and the rules in diffs.
func describeChains(states []chainState, want isolation) (steps []Step, diffs []string) {
	for _, state := range states {
		steps = append(steps, Step{Name: stepFirewall, Text: fmt.Sprintf("close this machine to the bridges %s by the chains %s and %s of %s",
			strings.Join(want.bridges, " "), InputChain, ForwardChain, state.program)})
		diffs = append(diffs, unified(state.program, ruleText(state.rules), ruleText(state.wanted)))
	}
	return steps, diffs
}

func ruleText(rules []string) []byte {
	if len(rules) == 0 {
		return nil
	}
	return []byte(strings.Join(rules, "\n") + "\n")
}

// outdated are the states that are not as they should be.
func outdated(states []chainState) []chainState {
	return slices.DeleteFunc(states, func(s chainState) bool { return s.current })
}

// anyThere reports whether a chain of ours was there before.
func anyThere(states []chainState) bool {
	return slices.ContainsFunc(states, func(s chainState) bool { return s.there })
}
