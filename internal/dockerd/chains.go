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
		if _, err := s.host.Run(ctx, program, "-w", "-S", defaultChain); err != nil {
			if program == families[1] {
				continue
			}
			return nil, fmt.Errorf("look at the firewall: %w", err)
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
	state := chainState{program: program, current: true}
	for _, chain := range []string{InputChain, ForwardChain} {
		listed, err := s.host.Run(ctx, program, "-w", "-S", chain)
		if err != nil { // there is no such chain
			state.current = false
			continue
		}
		state.there = true
		var have []string
		for line := range strings.Lines(listed) {
			if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+chain+" "); ok {
				have = append(have, rule)
				state.rules = append(state.rules, "-A "+chain+" "+rule)
			}
		}
		same, err := s.sameRules(ctx, program, chain, have, want.rules(program, chain))
		if err != nil {
			return state, err
		}
		state.current = state.current && same
	}
	for _, h := range hooks {
		if h.optional && !s.hasChain(ctx, program, h.parent) {
			continue
		}
		there := false
		if s.hasChain(ctx, program, h.chain) {
			var err error
			if there, err = s.entersFirst(ctx, program, h.parent, h.chain); err != nil {
				return state, err
			}
		}
		if there {
			state.rules = append(state.rules, "-A "+h.parent+" -j "+h.chain)
		}
		state.current = state.current && there
		state.wanted = append(state.wanted, "-A "+h.parent+" -j "+h.chain)
	}
	state.wanted = append(want.text(program), state.wanted...)
	return state, nil
}

// sameRules tells whether a chain has the wanted rules. Versions of iptables print some rules differently, so iptables
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
			if err := s.hook(ctx, state.program, h.parent, h.chain, h.optional); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Setup) hook(ctx context.Context, program, parent, chain string, optional bool) error {
	if optional && !s.hasChain(ctx, program, parent) {
		return nil
	}
	if first, err := s.entersFirst(ctx, program, parent, chain); err != nil || first {
		return err
	}
	// One that stands further below does no harm, and there is no moment without any.
	return s.insertRule(ctx, Rule{Program: program, Chain: parent, Match: []string{"-j", chain}})
}

// entersFirst reports whether nothing is decided in parent before chain is entered. The engine keeps DOCKER-USER ahead of
// everything in FORWARD, so entering our chain there first is as good.
func (s *Setup) entersFirst(ctx context.Context, program, parent, chain string) (bool, error) {
	first, err := s.firstRule(ctx, program, parent)
	if err != nil || first == "-j "+chain {
		return err == nil, err
	}
	if parent != forwarding || first != "-j "+userChain {
		return false, nil
	}
	first, err = s.firstRule(ctx, program, userChain)
	return first == "-j "+chain, err
}

// firstRule is the first rule of a chain, as iptables prints it behind the chain's name; empty when there is none.
func (s *Setup) firstRule(ctx context.Context, program, chain string) (string, error) {
	listed, err := s.host.Run(ctx, program, "-w", "-S", chain)
	if err != nil {
		return "", fmt.Errorf("look for the firewall rule: %w", err)
	}
	for line := range strings.Lines(listed) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+chain+" "); ok {
			return rule, nil
		}
	}
	return "", nil
}

func (s *Setup) hasChain(ctx context.Context, program, chain string) bool {
	_, err := s.host.Run(ctx, program, "-w", "-S", chain)
	return err == nil
}

// openToSessions removes the chains. It goes on past a fault.
func (s *Setup) openToSessions(ctx context.Context) error {
	var faults []error
	for _, program := range families {
		if !s.hasChain(ctx, program, defaultChain) {
			continue // it has set nothing either
		}
		for _, h := range hooks {
			if s.hasChain(ctx, program, h.parent) && s.hasChain(ctx, program, h.chain) {
				faults = append(faults, s.deleteRule(ctx, Rule{Program: program, Chain: h.parent, Match: []string{"-j", h.chain}}))
			}
		}
		for _, chain := range []string{InputChain, ForwardChain} {
			if !s.hasChain(ctx, program, chain) {
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

// anyThere tells whether a chain of ours was there before.
func anyThere(states []chainState) bool {
	return slices.ContainsFunc(states, func(s chainState) bool { return s.there })
}
