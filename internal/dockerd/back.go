package dockerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// back takes a run back: files, service manager, engine, firewall, journal. It goes on past a fault, and then leaves the
// journal as it is.
func (a *application) back(ctx context.Context) error {
	if a.j == nil || a.j.Run == nil {
		return nil
	}
	r := a.j.Run
	faults := []error{putBack(r.Files)}
	faults = append(faults, a.bringBack(ctx, r.Endpoint, holds(r.Files, a.paths.dropIn), r.Restarting))
	faults = append(faults, a.openFirewall(ctx, r.Rules))
	if r.Isolated {
		faults = append(faults, a.openToSessions(ctx))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if a.j.State == applying {
		if err := removeFile(a.paths.journal); err != nil {
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

// putBack makes every path what its record says, the last recorded first: files go before their directories.
func putBack(records []record) error {
	var faults []error
	for _, r := range slices.Backward(records) {
		if err := r.putBack(); err != nil {
			faults = append(faults, fmt.Errorf("put %s back: %w", r.Path, err))
		}
	}
	return errors.Join(faults...)
}

// bringBack lets the engine read what was put back, and waits until it answers where it did before.
func (s *Setup) bringBack(ctx context.Context, endpoint string, reload, restart bool) error {
	if reload && s.hasSystemd() {
		if err := s.reloadUnits(ctx); err != nil {
			return err
		}
	}
	switch {
	case !restart:
		return nil
	case endpoint == "":
		return s.stop(ctx)
	}
	if err := s.restart(ctx); err != nil {
		return fmt.Errorf("restart the engine with its earlier configuration: %w", err)
	}
	if err := s.poll(ctx, func(ctx context.Context) error { return s.answers(ctx, endpoint) }); err != nil {
		return fmt.Errorf("wait for the engine on %s: %w", endpoint, err)
	}
	return nil
}

func (s *Setup) openFirewall(ctx context.Context, rules []Rule) error {
	var faults []error
	for _, r := range slices.Backward(rules) {
		faults = append(faults, s.deleteRule(ctx, r))
	}
	return errors.Join(faults...)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func removeBackups(records []record) error {
	var faults []error
	for _, r := range records {
		if r.Backup != "" {
			faults = append(faults, removeFile(r.Backup))
		}
	}
	return errors.Join(faults...)
}

// removeEmpty removes directories that were not there and that only the journal or a backup kept until now.
func removeEmpty(records []record) error {
	var faults []error
	for _, r := range slices.Backward(records) {
		if info, err := os.Lstat(r.Path); r.Absent && err == nil && info.IsDir() {
			faults = append(faults, r.putBack())
		}
	}
	return errors.Join(faults...)
}
