package dockerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"berth/internal/atomicfile"
	"berth/internal/fileset"
)

// act is one change of a rollback.
type act struct {
	point string // for Setup.before
	do    func(context.Context) error
}

// restoration lists the acts that restore everything to what a layer says: files, service manager and engine, firewall. The last
// recorded file comes first, so that files go before their directories.
func (s *Setup) restoration(j *journal, l layer, engine func(context.Context) error) []act {
	var acts []act
	for _, r := range slices.Backward(l.Files) {
		acts = append(acts, act{"put back " + r.Path, func(context.Context) error {
			if err := s.putBack(j, r); err != nil {
				return fmt.Errorf("put %s back: %w", r.Path, err)
			}
			return nil
		}})
	}
	acts = append(acts, act{"restart the engine", func(ctx context.Context) error {
		if holds(l.Files, s.paths.dropIn) && s.hasSystemd() {
			if err := s.reloadUnits(ctx); err != nil {
				return err
			}
		}
		return engine(ctx)
	}})
	acts = append(acts, act{"open the firewall", func(ctx context.Context) error { return s.deleteRules(ctx, l.Rules) }})
	if l.Isolated {
		acts = append(acts, act{"open to sessions", s.Open})
	}
	return acts
}

// back rolls a run back: everything becomes as it was before. It continues after a fault, and then keeps the journal.
func (a *application) back(ctx context.Context) error {
	if a.j == nil || a.j.Run == nil {
		return nil
	}
	r := a.j.Run
	var faults []error
	for _, act := range a.restoration(a.j, r.layer, a.restartBefore) {
		faults = append(faults, act.do(ctx))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if a.j.State == applying {
		if err := atomicfile.Remove(a.paths.journal); err != nil {
			return err
		}
	} else {
		done := *a.j
		done.Run = nil
		if err := done.save(a.paths.journal); err != nil {
			return err
		}
	}
	return errors.Join(removeBackups(r.Files), removeEmpty(r.Files))
}

// restartBefore restarts the engine with what it had before the run, or stops one that did not answer then.
func (a *application) restartBefore(ctx context.Context) error {
	switch r := a.j.Run; {
	case !r.Restarting:
		return nil
	case r.Endpoint == "":
		return a.stop(ctx)
	default:
		return a.restartAt(ctx, r.Endpoint)
	}
}

// Undo restores the state before the first set-up, restarts the engine, and waits until it answers as it did then. An
// interrupted Undo is completed by the next one. Without a recorded set-up it does nothing.
func (s *Setup) Undo(ctx context.Context) error {
	if !fileset.Exists(s.paths.journal) {
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
	first := j.first()
	acts := []act{{"journal", func(context.Context) error {
		j.State = undoing
		if err := j.save(s.paths.journal); err != nil {
			return err
		}
		s.step(stepUndo, "restoring the files")
		return nil
	}}}
	acts = append(acts, s.restoration(j, first, func(ctx context.Context) error { return s.restartFirst(ctx, first) })...)
	acts = append(acts, act{"forget", func(context.Context) error { return atomicfile.Remove(s.paths.journal) }})
	for _, act := range acts {
		if err := s.before(act.point); err != nil {
			return err
		}
		if err := act.do(ctx); err != nil {
			return err
		}
	}
	if j.Run != nil {
		err = removeBackups(j.Run.Files)
	}
	return errors.Join(err, removeBackups(first.Files), removeEmpty(first.Files))
}

// restartFirst restarts the engine with its configuration before the first set-up. An engine that did not run then may not
// start now either.
func (s *Setup) restartFirst(ctx context.Context, first layer) error {
	s.step(stepUndo, "restarting the engine")
	if first.Endpoint != "" {
		return s.restartAt(ctx, first.Endpoint)
	}
	if err := s.restart(ctx); err != nil {
		s.step(stepUndo, "the engine does not start, as before the set-up: %v", err)
	}
	return nil
}

// restartAt restarts the engine and waits until it answers where it did before.
func (s *Setup) restartAt(ctx context.Context, endpoint string) error {
	if err := s.restart(ctx); err != nil {
		return fmt.Errorf("restart the engine with its earlier configuration: %w", err)
	}
	if err := s.poll(ctx, func(ctx context.Context) error { return s.answers(ctx, endpoint) }); err != nil {
		return fmt.Errorf("wait for the engine on %s: %w", endpoint, err)
	}
	return nil
}

// putBack makes a path what its record says. In a daemon.json that was changed since we wrote it, only our keys are restored.
func (s *Setup) putBack(j *journal, r record) error {
	config, err := s.undoneConfig(j, r)
	if err != nil {
		return err
	}
	if config == nil {
		return r.putBack()
	}
	mode := r.Mode
	if r.Absent {
		mode = 0o644
	}
	return atomicfile.Write(r.Path, config, mode, "")
}

// undoneConfig is daemon.json with our keys as they were, when it was changed since we wrote it; nil when it is
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
		return nil, refuse("correct it first", "%s is malformed: %w", r.Path, err)
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
