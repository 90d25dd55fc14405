package dockerd

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Plan is what a set-up would do to the machine as it is now.
type Plan struct {
	Engine  string   // where the engine answers now; empty when it does not
	Version string   // of the engine that answers; may be empty
	Steps   []Step   // what would be done, in order; empty when everything is as it should be
	Diffs   []string // unified, of what people may want to read before they agree; secrets are masked
	Notes   []string // what the operator should know
	Resumes bool     // an earlier set-up was interrupted, and this one completes it

	files []write // in the order in which they are written
	dirs  []directory
	rules []Rule // that are missing now
	old   []Rule // that an earlier set-up inserted and this one does without
	// isolation is what the chains close this machine with, and chains are those that are not so now.
	isolation isolation
	chains    []chainState
	reopen    bool // an earlier set-up closed this machine to sessions, and this one does without

	restart bool
	journal *journal // as it was when this was planned; nil for none
	engine  string   // the program
	newer   bool     // it can validate a configuration itself
}

// write is one file as it should be.
type write struct {
	step string
	now  record // what stands there, as it was when this was planned
	data []byte // nil removes the file
	mode fs.FileMode
}

// directory is one that is missing or open to others.
type directory struct {
	now  record
	mode fs.FileMode
}

// Empty reports whether nothing is to be done.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 }

// Plan looks at the machine and changes nothing. A RefusedError says that this machine cannot be set up as it is. Where only
// an address is in use the plan comes with the error, for display: it must not be applied.
func (s *Setup) Plan(ctx context.Context) (*Plan, error) {
	p := &planner{Setup: s, plan: &Plan{}}
	for _, look := range []func(context.Context) error{
		p.readJournal, p.readService, p.readConfig, p.findEngine, p.checkListen,
		p.planCertificates, p.planFirewall, p.planConfig, p.planRestart,
	} {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	p.describe()
	return p.plan, p.inUse
}

// describe writes the plan's steps as text.
func (p *planner) describe() {
	plan := p.plan
	add := func(name, format string, args ...any) {
		plan.Steps = append(plan.Steps, Step{Name: name, Text: fmt.Sprintf(format, args...)})
	}
	for _, d := range plan.dirs {
		if d.now.Absent {
			add(stepCertificates, "make the directory %s (%04o)", d.now.Path, d.mode)
		} else {
			add(stepCertificates, "close the directory %s to others (%04o)", d.now.Path, d.mode)
		}
	}
	for _, w := range plan.files {
		verb := "write"
		switch {
		case w.data == nil:
			verb = "remove"
		case !w.now.Absent:
			verb = "back up and replace"
		}
		add(w.step, "%s %s (%04o)", verb, w.now.Path, w.mode)
		if w.step != stepCertificates {
			old, _ := os.ReadFile(w.now.Path) // a new file has no old text
			plan.Diffs = append(plan.Diffs, unified(w.now.Path, old, w.data))
		}
	}
	for _, r := range plan.rules {
		add(stepFirewall, "%s", r)
	}
	for _, r := range plan.old {
		add(stepFirewall, "%s", r.command("-D"))
	}
	steps, diffs := describeChains(plan.chains, plan.isolation)
	plan.Steps, plan.Diffs = append(plan.Steps, steps...), append(plan.Diffs, diffs...)
	if plan.reopen {
		add(stepFirewall, "remove the chains %s and %s", InputChain, ForwardChain)
	}
	if plan.restart {
		by, _ := p.restarts() // was asked before
		add(stepRestart, "restart the engine by %s", by)
		add(stepVerify, "the engine must answer our client over TLS, and refuse one without certificate and one of another authority")
	}
	if plan.Resumes && len(plan.Steps) == 0 {
		add(stepVerify, "complete the interrupted set-up")
	}
}

// String is the plan as text for operators.
func (p *Plan) String() string {
	var out strings.Builder
	for _, n := range p.Notes {
		fmt.Fprintf(&out, "Note: %s.\n", n)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&out, "%3d. %-12s  %s\n", i+1, s.Name, s.Text)
	}
	for _, d := range p.Diffs {
		fmt.Fprintf(&out, "\n%s", d)
	}
	return out.String()
}
