package storage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"berth/internal/session"
)

// name determines the installation of the containers to adopt.
func (a *adoption) name(ctx context.Context, known map[session.ID]session.Session) error {
	recorded, err := a.backend.installation(ctx)
	if err != nil {
		return err
	}
	kept, err := a.dir.peek(instanceFile)
	if err != nil {
		return err
	}
	engine, err := a.openEngine(ctx, "none") // the installation is not known yet
	if err != nil {
		return err
	}
	there, err := engine.Installations(ctx)
	if err != nil {
		return err
	}
	now := cmp.Or(recorded, kept)
	name := cmp.Or(a.opts.Installation, now)
	switch {
	case a.opts.Discard:
		name = cmp.Or(name, randomInstance())
	case a.opts.Installation == "" && len(there[now]) == 0:
		only, err := onlyInstallation(there, known)
		if err != nil && now == "" {
			return err
		}
		name = cmp.Or(only, now, randomInstance())
	}
	if now != "" && name != now && len(there[now]) > 0 {
		return session.Errorf(session.CodeConflict, "this is the installation %q, which has sessions on the engine, and cannot become %q; "+
			"adopt those with a separate BERTH_STATE_DIR or database", now, name)
	}
	a.report.Installation = name
	a.others = countSessions(there, name)
	return nil
}

// adoptName records the name of the adopted installation.
func (a *adoption) adoptName(ctx context.Context) error {
	name := a.report.Installation
	kept, err := a.dir.peek(instanceFile)
	if err != nil {
		return err
	}
	if kept != name {
		if err := a.dir.replace(instanceFile, name); err != nil {
			return err
		}
	}
	return a.backend.SetInstallation(ctx, name)
}

func randomInstance() string { return string(session.NewID()) }

// onlyInstallation returns the only installation on the engine, or, if the store has sessions, the only one with a session of
// the store. It returns "" if there is none.
func onlyInstallation(there map[string]map[session.ID]bool, known map[session.ID]session.Session) (string, error) {
	names := slices.Sorted(maps.Keys(there))
	if len(known) > 0 {
		names = slices.DeleteFunc(names, func(name string) bool {
			for id := range there[name] {
				if _, ok := known[id]; ok {
					return false
				}
			}
			return true
		})
	}
	switch len(names) {
	case 0:
		return "", nil
	case 1:
		return names[0], nil
	}
	return "", session.Errorf(session.CodeInvalid, "the engine has sessions of several installations: name one of %s with --instance", strings.Join(names, ", "))
}
