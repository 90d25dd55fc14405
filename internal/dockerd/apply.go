package dockerd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"berth/internal/fileset"
)

// The steps of a set-up, in their order.
const (
	stepCertificates = "certificates"
	stepValidate     = "validate"
	stepDropIn       = "drop-in"
	stepConfig       = "daemon.json"
	stepFirewall     = "firewall"
	stepRestart      = "restart"
	stepVerify       = "verify"
	stepBack         = "roll back"
	stepUndo         = "undo"
)

// stamp dates backups.
const stamp = "20060102T150405Z"

// FailedError is a set-up that failed and was rolled back.
type FailedError struct {
	Step string
	Err  error
	Back error // why rolling back failed; nil when everything is as it was before
}

// Error says what failed and in what state the machine is.
func (e *FailedError) Error() string {
	if e.Back != nil {
		return fmt.Sprintf("%s: %v; rolling back failed, too: %v", e.Step, e.Err, e.Back)
	}
	return fmt.Sprintf("%s: %v; it was rolled back, and everything is as it was before", e.Step, e.Err)
}

// Unwrap gives both causes.
func (e *FailedError) Unwrap() []error { return []error{e.Err, e.Back} }

// Hint is what to do about it.
func (e *FailedError) Hint() string {
	if e.Back != nil {
		return `remove the cause and run "berth docker setup-tls --undo": the journal holds the remaining steps`
	}
	return ""
}

// application is one set-up under way.
type application struct {
	*Setup
	plan *Plan
	j    *journal
	at   string // the step that is being done
	// superseded are files of an earlier set-up: once this one stands, their backups are not needed any more.
	superseded []record
}

// Apply does what the plan says. When a step fails everything is rolled back, and the engine is restarted with what it
// had; the error is a FailedError then. A plan that is out of date is refused with nothing changed.
func (s *Setup) Apply(ctx context.Context, plan *Plan) error {
	if plan.Empty() {
		return nil
	}
	if err := os.MkdirAll(s.paths.dockerDir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", s.paths.dockerDir, err)
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.stillHolds(plan); err != nil {
		return err
	}
	a := &application{Setup: s, plan: plan, j: plan.journal}
	if err := a.forward(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		s.step(stepBack, "rolling back, because of: %v", err)
		back, cancel := s.finishing(ctx)
		defer cancel()
		return &FailedError{Step: a.at, Err: err, Back: a.back(back)}
	}
	return errors.Join(removeBackups(a.superseded), a.forgetOldRules(ctx))
}

// lock excludes a second set-up.
func (s *Setup) lock() (unlock func(), err error) {
	unlock, err = fileset.Lock(s.paths.dockerDir)
	if errors.Is(err, fileset.ErrLocked) {
		return nil, refuse("wait for it to end", "another set-up is running on %s", s.paths.dockerDir)
	}
	return unlock, err
}

// stillHolds compares the machine with what the plan was made for.
func (s *Setup) stillHolds(plan *Plan) error {
	changed := func(path string) error {
		return refuse("run the command again", "%s has changed since the plan was made", path)
	}
	for _, w := range plan.files {
		if now, _, err := look(w.now.Path); err != nil || now != w.now {
			return changed(w.now.Path)
		}
	}
	j, err := loadJournal(s.paths.journal)
	if err != nil {
		return err
	}
	if (j == nil) != (plan.journal == nil) || j != nil && (j.State != plan.journal.State || (j.Run == nil) != (plan.journal.Run == nil)) {
		return changed(s.paths.journal)
	}
	return nil
}

func (a *application) forward(ctx context.Context) error {
	a.at = stepCertificates
	if err := a.begin(); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{stepCertificates, a.installCertificates},
		{stepValidate, a.validateConfig},
		// A drop-in alone leaves the engine its default socket; the other way round it would not start.
		{stepDropIn, a.installDropIn},
		{stepConfig, a.writeFiles(stepConfig)},
		{stepFirewall, a.closeFirewall},
		{stepRestart, a.restartEngine},
		{stepVerify, a.verifyEngine},
		{stepFirewall, a.hookEngine},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.at = step.name
		if err := a.before(step.name); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return a.commit()
}
