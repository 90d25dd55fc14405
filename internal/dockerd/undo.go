package dockerd

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// PlanUndo plans what Undo would do. Its plan is empty when no set-up is recorded.
func (s *Setup) PlanUndo(ctx context.Context) (*Plan, error) {
	plan := &Plan{}
	j, err := loadJournal(s.paths.journal)
	if err != nil || j == nil {
		return plan, err
	}
	plan.journal = j
	first := j.first()
	by, err := s.restarts()
	if err != nil {
		return nil, err
	}
	add := func(format string, args ...any) {
		plan.Steps = append(plan.Steps, Step{Name: stepUndo, Text: fmt.Sprintf(format, args...)})
	}
	for _, r := range slices.Backward(first.Files) {
		config, err := s.undoneConfig(j, r)
		if err != nil {
			return nil, err
		}
		switch {
		case r.Path == s.paths.config && config != nil:
			add("take out of %s what was set; it has been changed since, and keeps that", r.Path)
			old, _ := os.ReadFile(r.Path) // undoneConfig has read it
			plan.Diffs = append(plan.Diffs, unified(r.Path, old, config))
		case r.Absent:
			add("remove %s", r.Path)
		case r.Dir:
			add("give %s its mode %04o back", r.Path, r.Mode)
		default:
			add("restore %s from %s", r.Path, r.Backup)
		}
	}
	add("restart the engine by %s", by)
	for _, r := range first.Rules {
		add("%s", r.command("-D"))
	}
	if first.Isolated {
		add("remove the chains %s and %s, which close this machine to sessions", InputChain, ForwardChain)
	}
	return plan, ctx.Err()
}
