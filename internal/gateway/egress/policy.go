package egress

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"berth/internal/session"
)

// Policy is the lists of an operator, with the built-in ones, and the private targets. It does not change; create it with
// [NewPolicy].
type Policy struct {
	lists   map[string]*list
	private []Rule // for addresses
}

// list is a list of rules, indexed by their names.
type list struct {
	rules  []Rule
	byName map[string][]Rule // rules for names, those for subdomains with "*."
	ranges []Rule            // rules for addresses
}

func newList(rules []Rule) *list {
	l := &list{rules: rules, byName: map[string][]Rule{}}
	for _, r := range rules {
		switch {
		case r.prefix.IsValid():
			l.ranges = append(l.ranges, r)
		case r.below:
			l.byName["*."+r.name] = append(l.byName["*."+r.name], r)
		default:
			l.byName[r.name] = append(l.byName[r.name], r)
		}
	}
	return l
}

// forHost are the rules that match a target's host, on whatever port.
func (l *list) forHost(t Target) []Rule {
	if t.Name == "" {
		return slices.DeleteFunc(slices.Clone(l.ranges), func(r Rule) bool { return !r.matchesHost(t) })
	}
	found := l.byName[t.Name]
	for _, parent, ok := strings.Cut(t.Name, "."); ok; _, parent, ok = strings.Cut(parent, ".") {
		found = append(slices.Clip(found), l.byName["*."+parent]...)
	}
	return found
}

// listName is what lists are called. A name has no dot and no colon, a rule has at least one.
var listName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// NewPolicy returns the policy of an operator's lists by name, which may not be those of a built-in list, and of private targets
// like "10.1.2.0/24:5432". The error joins all faults.
func NewPolicy(lists map[string][]string, private []string) (*Policy, error) {
	p := &Policy{lists: map[string]*list{}}
	var faults []error
	for _, text := range private {
		r, err := ParseRule(text)
		if err == nil {
			err = checkPrivate(r)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("private: %w", err))
			continue
		}
		p.private = append(p.private, r)
	}
	for _, name := range slices.Sorted(maps.Keys(presets)) {
		rules, err := parseRules(presets[name])
		faults = append(faults, err...)
		p.lists[name] = newList(rules)
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if !listName.MatchString(name) || presets[name] != nil {
			faults = append(faults, fmt.Errorf("lists.%s: a list's name has lower-case letters, digits, _ and -, and is not that of a built-in list", quote(name)))
			continue
		}
		rules, errs := parseRules(lists[name])
		for _, err := range errs {
			faults = append(faults, fmt.Errorf("lists.%s: %w", name, err))
		}
		for _, r := range rules {
			if err := p.checkRange(r); err != nil {
				faults = append(faults, fmt.Errorf("lists.%s: %w", name, err))
			}
		}
		p.lists[name] = newList(rules)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return p, nil
}

func parseRules(texts []string) (rules []Rule, faults []error) {
	for _, text := range texts {
		r, err := ParseRule(text)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		rules = append(rules, r)
	}
	return rules, faults
}

// checkRange refuses a rule for addresses that are not private targets of the operator's.
func (p *Policy) checkRange(r Rule) error {
	if r.prefix.IsValid() && !slices.ContainsFunc(p.private, func(q Rule) bool { return q.port == r.port && q.coversHosts(r) }) {
		return fmt.Errorf("rule %s: sessions reach addresses only if egress.private has them", r)
	}
	return nil
}

// Check returns an error for each entry of a list of lists and rules that is not valid, joined.
func (p *Policy) Check(allow []string) error {
	var faults []error
	for _, entry := range allow {
		rules, err := p.expand(entry)
		if err != nil {
			faults = append(faults, err)
		}
		for _, r := range rules {
			if err := p.checkRange(r); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return errors.Join(faults...)
}

// expand returns the rules of an entry: of a list by its name, or the one that it is.
func (p *Policy) expand(entry string) ([]Rule, error) {
	if l := p.lists[entry]; l != nil {
		return l.rules, nil
	}
	if !strings.ContainsAny(entry, ".:/") {
		return nil, fmt.Errorf("there is no list %s; the lists are %s", quote(entry), strings.Join(slices.Sorted(maps.Keys(p.lists)), ", "))
	}
	r, err := ParseRule(entry)
	return []Rule{r}, err
}

// Subset returns an error unless a session that is asked to reach certain lists and rules reaches no more than those of its
// profile. Both are as in [session.Caller]. The error is for whoever asks.
func (p *Policy) Subset(of, asked []string) error {
	var has []Rule
	for _, entry := range of {
		rules, err := p.expand(entry)
		if err != nil {
			return fmt.Errorf("the profile: %w", err)
		}
		has = append(has, rules...)
	}
	var faults []error
	for _, entry := range asked {
		rules, err := p.expand(entry)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if !slices.Contains(of, entry) && !allCovered(has, rules) {
			faults = append(faults, fmt.Errorf("%s is more than the profile allows, which is %s", entry, summary(of)))
		}
	}
	return errors.Join(faults...)
}

func allCovered(has, asked []Rule) bool {
	for _, r := range asked {
		for _, port := range r.ports() {
			if !slices.ContainsFunc(has, func(h Rule) bool { return h.hasPort(port) && h.coversHosts(r) }) {
				return false
			}
		}
	}
	return true
}

// privateTarget reports whether the operator allows an address and port that are not public. One of a range does not open
// addresses of the host itself, which have to be named one by one.
func (p *Policy) privateTarget(a netip.Addr, port uint16, own bool) bool {
	return slices.ContainsFunc(p.private, func(r Rule) bool {
		return r.port == port && r.prefix.Contains(a) && (!own || r.prefix.IsSingleIP())
	})
}

// Judge decides whether a session may reach a target. The addresses of a name are judged when it is dialled.
func (p *Policy) Judge(caller session.Caller, t Target) Verdict {
	return p.judge(caller, t, func(r Rule) bool { return r.hasPort(t.Port) })
}

// JudgeName is Judge for some port: whether the name is known to the session at all.
func (p *Policy) JudgeName(caller session.Caller, name string) Verdict {
	return p.judge(caller, Target{Name: name}, func(Rule) bool { return true })
}

func (p *Policy) judge(caller session.Caller, t Target, accepts func(Rule) bool) Verdict {
	switch caller.Egress {
	case session.EgressOpen:
		// The session has a way of its own; through the gateway it reaches the same: what is public.
		if t.Name == "" && refusedAddress(t.Addr) != "" && !p.privateTarget(t.Addr, t.Port, false) {
			return refusal(ReasonAddress, "%s is %s, which sessions do not reach", t, refusedAddress(t.Addr))
		}
		return Verdict{Allowed: true, Rule: string(session.EgressOpen)}
	case session.EgressListed:
	default:
		return refusal(ReasonMode, "%s is refused: this session reaches no hosts (egress is none); ask the operator for another profile", describe(t))
	}
	otherPorts := ""
	for _, entry := range caller.Allow {
		for _, r := range p.forHost(entry, t) {
			if accepts(r) {
				return Verdict{Allowed: true, Rule: r.String()}
			}
			otherPorts = r.String()
		}
	}
	return p.notListed(caller, t, otherPorts)
}

// forHost are the rules of an entry that match a target's host. An entry that is not valid has none.
func (p *Policy) forHost(entry string, t Target) []Rule {
	if l := p.lists[entry]; l != nil {
		return l.forHost(t)
	}
	r, err := ParseRule(entry)
	if err != nil || !r.matchesHost(t) {
		return nil
	}
	return []Rule{r}
}

func (p *Policy) notListed(caller session.Caller, t Target, otherPorts string) Verdict {
	remedy := fmt.Sprintf("ask the operator to add it to egress_allow of profile %q", caller.Profile)
	for _, name := range slices.Sorted(maps.Keys(p.lists)) {
		if slices.ContainsFunc(p.lists[name].forHost(t), func(r Rule) bool { return t.Port == 0 || r.hasPort(t.Port) }) {
			remedy = fmt.Sprintf("it is on the list %s, which the operator can add to egress_allow of profile %q", name, caller.Profile)
			break
		}
	}
	if otherPorts != "" {
		return refusal(ReasonNotListed, "%s is not on this session's list, which has %s only; %s", describe(t), otherPorts, remedy)
	}
	return refusal(ReasonNotListed, "%s is not on this session's list (%s); %s", describe(t), summary(caller.Allow), remedy)
}

// describe is the target, or the name alone where no port is known.
func describe(t Target) string {
	if t.Port == 0 {
		return t.Name
	}
	return t.String()
}

const maxSummary = 6

// summary lists lists and rules, the first few of many.
func summary(allow []string) string {
	switch {
	case len(allow) == 0:
		return "nothing"
	case len(allow) > maxSummary:
		return strings.Join(allow[:maxSummary], ", ") + fmt.Sprintf(" and %d more", len(allow)-maxSummary)
	default:
		return strings.Join(allow, ", ")
	}
}
