package dockerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"berth/internal/fileset"
)

// PlanUndo tells what Undo would do. Its plan is empty when no set-up is recorded.
func (s *Setup) PlanUndo(ctx context.Context) (*Plan, error) {
	plan := &Plan{}
	j, err := loadJournal(s.paths.journal)
	if err != nil || j == nil {
		return plan, err
	}
	plan.journal = j
	by, err := s.restarts()
	if err != nil {
		return nil, err
	}
	add := func(format string, args ...any) {
		plan.Steps = append(plan.Steps, Step{Name: stepUndo, Text: fmt.Sprintf(format, args...)})
	}
	for _, r := range slices.Backward(j.earliest()) {
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
	for _, r := range j.allRules() {
		add("%s", r.command("-D"))
	}
	if j.isolated() {
		add("remove the chains %s and %s, which close this machine to sessions", InputChain, ForwardChain)
	}
	return plan, ctx.Err()
}

// Undo restores the state before the first set-up, restarts the engine, and waits until it answers as it did then. An
// interrupted Undo is completed by the next one. Without a recorded set-up it does nothing.
func (s *Setup) Undo(ctx context.Context) error {
	if !exists(s.paths.journal) {
		return nil
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	j, err := loadJournal(s.paths.journal)
	if err != nil || j == nil {
		return err
	}
	records := j.earliest()
	j.State = undoing
	if err := s.before("journal"); err != nil {
		return err
	}
	if err := j.save(s.paths.journal); err != nil {
		return err
	}
	s.step(stepUndo, "restoring the files")
	if err := s.undoFiles(j, records); err != nil {
		return err
	}
	s.step(stepUndo, "restarting the engine")
	if err := s.before("restart the engine"); err != nil {
		return err
	}
	if err := s.undoEngine(ctx, j); err != nil {
		return err
	}
	if err := s.before("open the firewall"); err != nil {
		return err
	}
	if err := s.openFirewall(ctx, j.allRules()); err != nil {
		return err
	}
	if j.isolated() {
		if err := s.openToSessions(ctx); err != nil {
			return err
		}
	}
	if err := s.before("forget"); err != nil {
		return err
	}
	if err := removeFile(s.paths.journal); err != nil {
		return err
	}
	if j.Run != nil {
		err = removeBackups(j.Run.Files)
	}
	return errors.Join(err, removeBackups(records), removeEmpty(records))
}

func (s *Setup) undoFiles(j *journal, records []record) error {
	for _, r := range slices.Backward(records) {
		if err := s.before("put back " + r.Path); err != nil {
			return err
		}
		config, err := s.undoneConfig(j, r)
		if err != nil {
			return err
		}
		if config != nil {
			err = fileset.WriteFile(r.Path, config, modeOf(r))
		} else {
			err = r.putBack()
		}
		if err != nil {
			return fmt.Errorf("put %s back: %w", r.Path, err)
		}
	}
	return nil
}

// undoEngine restarts the engine. Where none ran before the first set-up it may well not start now: that is how it was.
func (s *Setup) undoEngine(ctx context.Context, j *journal) error {
	reload := holds(j.earliest(), s.paths.dropIn)
	if j.Endpoint != "" {
		return s.bringBack(ctx, j.Endpoint, reload, true)
	}
	if err := s.bringBack(ctx, "", reload, false); err != nil {
		return err
	}
	if err := s.restart(ctx); err != nil {
		s.step(stepUndo, "the engine does not start, as before the set-up: %v", err)
	}
	return nil
}

// undoneConfig is daemon.json with our keys as they were, when somebody has changed it since we wrote it; nil when it is
// to be put back as it was, byte by byte, or is another file.
func (s *Setup) undoneConfig(j *journal, r record) ([]byte, error) {
	if r.Path != s.paths.config {
		return nil, nil
	}
	now, data, err := look(r.Path)
	if err != nil {
		return nil, err
	}
	if now.Absent || now.SHA256 == r.SHA256 || slices.Contains(j.Written, now.SHA256) {
		return nil, nil
	}
	current, err := parseDocument(data)
	if err != nil {
		return nil, refuse("mend it first", "%s is malformed: %w", r.Path, err)
	}
	var original document
	if !r.Absent {
		old, err := os.ReadFile(r.Backup)
		if err != nil {
			return nil, fmt.Errorf("read the backup: %w", err)
		}
		if original, err = parseDocument(old); err != nil {
			return nil, fmt.Errorf("read the backup %s: %w", r.Backup, err)
		}
	}
	undone := unmerge(current, original)
	if len(undone.entries) == 0 && r.Absent {
		return nil, nil
	}
	return undone.bytes(), nil
}

func modeOf(r record) (mode os.FileMode) {
	if mode = r.Mode; r.Absent {
		mode = 0o644
	}
	return mode
}
