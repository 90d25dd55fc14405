package dockerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"berth/internal/atomicfile"
	"berth/internal/fileset"
)

// begin records the present state in the journal, and backs up what will be replaced.
func (a *application) begin() error {
	if a.j == nil {
		a.j = &journal{Version: journalVersion, State: applying, layer: layer{Endpoint: a.plan.Engine}}
	}
	if a.j.Run == nil {
		a.j.Run = &run{Started: a.host.Now().UTC().Truncate(time.Second), layer: layer{Endpoint: a.plan.Engine}}
	}
	r := a.j.Run
	suffix := "." + r.Started.Format(stamp) + ".bak"
	for _, d := range a.plan.dirs {
		if !holds(r.Files, d.now.Path) {
			r.Files = append(r.Files, d.now)
		}
	}
	for _, w := range a.plan.files {
		if w.step == stepConfig {
			a.j.Written = append(a.j.Written, digest(w.data))
		}
		if holds(r.Files, w.now.Path) {
			continue // an interrupted run has seen it first
		}
		saved := w.now
		if !saved.Absent {
			saved.Backup = saved.Path + suffix
		}
		r.Files = append(r.Files, saved)
	}
	if err := a.save(); err != nil {
		return err
	}
	for _, saved := range r.Files {
		if saved.Backup == "" || fileset.Exists(saved.Backup) {
			continue
		}
		if err := a.backUp(saved); err != nil {
			return fmt.Errorf("back up %s: %w", saved.Path, err)
		}
	}
	return nil
}

// backUp copies a file as it was recorded. It is called before the file is written for the first time.
func (a *application) backUp(saved record) error {
	if err := a.before("back up " + saved.Path); err != nil {
		return err
	}
	now, data, err := look(saved.Path)
	if err != nil {
		return err
	}
	if now != saved.without() {
		return errors.New("it has changed since the plan was made")
	}
	if err := atomicfile.Write(saved.Backup, data, saved.Mode, ""); err != nil {
		return err
	}
	return os.Chown(saved.Backup, saved.UID, saved.GID)
}

func (a *application) save() error {
	if err := a.before("journal"); err != nil {
		return err
	}
	return a.j.save(a.paths.journal)
}

func (a *application) installCertificates(ctx context.Context) error {
	for _, d := range a.plan.dirs {
		if err := a.before("directory " + d.now.Path); err != nil {
			return err
		}
		// Its parents come before it, and it may have been made to be locked.
		if err := os.Mkdir(d.now.Path, d.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chmod(d.now.Path, d.mode); err != nil {
			return err
		}
	}
	return a.writeFiles(stepCertificates)(ctx)
}

// writeFiles writes the planned files of a step.
func (a *application) writeFiles(step string) func(context.Context) error {
	return func(context.Context) error {
		for _, w := range a.plan.files {
			if w.step != step {
				continue
			}
			if err := a.before("write " + w.now.Path); err != nil {
				return err
			}
			a.step(step, "writing %s", w.now.Path)
			if err := w.write(); err != nil {
				return fmt.Errorf("write %s: %w", w.now.Path, err)
			}
		}
		return nil
	}
}

func (w write) write() error {
	if w.data == nil {
		return os.Remove(w.now.Path)
	}
	if err := atomicfile.Write(w.now.Path, w.data, w.mode, ""); err != nil {
		return err
	}
	if w.step == stepCertificates || w.now.Absent {
		return nil
	}
	return os.Chown(w.now.Path, w.now.UID, w.now.GID)
}

func (a *application) validateConfig(ctx context.Context) error {
	for _, w := range a.plan.files {
		if w.step == stepConfig {
			a.step(stepValidate, "checking the new %s", filepath.Base(w.now.Path))
			return a.validate(ctx, a.plan, w.data)
		}
	}
	return nil
}

func (a *application) installDropIn(ctx context.Context) error {
	if err := a.writeFiles(stepDropIn)(ctx); err != nil || !a.hasSystemd() {
		return err
	}
	// Also for a drop-in that an interrupted run wrote.
	if !holds(a.j.Run.Files, a.paths.dropIn) {
		return nil
	}
	if err := a.before("daemon-reload"); err != nil {
		return err
	}
	return a.reloadUnits(ctx)
}

func (a *application) closeFirewall(ctx context.Context) error {
	for _, r := range a.plan.rules {
		a.step(stepFirewall, "%s", r)
		a.j.Run.Rules = append(a.j.Run.Rules, r)
		if err := a.save(); err != nil {
			return err
		}
		if err := a.before("insert " + r.String()); err != nil {
			return err
		}
		if err := a.insertRule(ctx, r); err != nil {
			return err
		}
	}
	if len(a.plan.chains) == 0 {
		return nil
	}
	a.step(stepFirewall, "closing this machine to sessions")
	if !anyThere(a.plan.chains) {
		a.j.Run.Isolated = true
		if err := a.save(); err != nil {
			return err
		}
	}
	if err := a.before("close to sessions"); err != nil {
		return err
	}
	return a.closeToSessions(ctx, a.plan.isolation, a.plan.chains)
}

// hookEngine enters the chains from those that the engine has made since: it makes them when it starts for the first time.
func (a *application) hookEngine(ctx context.Context) error {
	if a.opts.NoFirewall {
		return nil
	}
	states, err := a.lookAtChains(ctx, a.plan.isolation)
	if err != nil {
		return err
	}
	return a.closeToSessions(ctx, a.plan.isolation, states)
}

func (a *application) restartEngine(ctx context.Context) error {
	if !a.plan.restart {
		return nil
	}
	by, err := a.restarts()
	if err != nil {
		return err
	}
	a.step(stepRestart, "restarting the engine by %s", by)
	a.j.Run.Restarting = true
	if err := a.save(); err != nil {
		return err
	}
	if err := a.before("restart the engine"); err != nil {
		return err
	}
	return a.Setup.restart(ctx)
}

func (a *application) verifyEngine(ctx context.Context) error {
	a.step(stepVerify, "waiting for the engine to answer our client and to refuse unauthenticated ones")
	return a.awaitVerified(ctx)
}

// forgetOldRules comes after the commit: until then the engine may go back to the addresses that these rules are for.
func (a *application) forgetOldRules(ctx context.Context) error {
	if a.plan.reopen {
		if err := a.Open(ctx); err != nil {
			return err
		}
		a.j.Isolated = false
		if err := a.j.save(a.paths.journal); err != nil {
			return err
		}
	}
	if len(a.plan.old) == 0 {
		return nil
	}
	if err := a.deleteRules(ctx, a.plan.old); err != nil {
		return err
	}
	a.j.Rules = slices.DeleteFunc(a.j.Rules, func(r Rule) bool {
		return slices.ContainsFunc(a.plan.old, func(old Rule) bool { return r.String() == old.String() })
	})
	return a.j.save(a.paths.journal)
}

// commit makes the run part of what has been set up.
func (a *application) commit() error {
	var superseded []record
	for _, r := range a.j.Run.Files {
		if holds(a.j.Files, r.Path) {
			superseded = append(superseded, r)
		}
	}
	done := *a.j
	done.State, done.layer, done.Run = applied, a.j.first(), nil
	if err := a.before("commit"); err != nil {
		return err
	}
	if err := done.save(a.paths.journal); err != nil {
		return err
	}
	a.j, a.superseded = &done, superseded
	return nil
}
