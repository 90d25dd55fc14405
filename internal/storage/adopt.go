package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"berth/internal/access"
	"berth/internal/config"
	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/record"
)

// AdoptOptions select the sessions to recover.
type AdoptOptions struct {
	Installation string       // owner of the containers; empty: this one, or the only other one on the engine if this one has none
	Sessions     []session.ID // empty: all
	TakeOver     bool         // also from another Berth that is running
	Discard      bool         // recover nothing: containers without a session may be removed
	DryRun       bool
}

// Adopted is one session that was found on the engine.
type Adopted struct {
	ID      session.ID     `json:"session_id"`
	Profile string         `json:"profile"`
	Image   string         `json:"image,omitempty"`
	Status  session.Status `json:"status,omitempty"` // that it is recorded with; empty: it was not recovered
	Note    string         `json:"note,omitempty"`   // for operators
}

// AdoptReport is the result of [Adopt].
type AdoptReport struct {
	Installation string         `json:"instance"`
	Known        int            `json:"known"`                         // sessions that the store had
	NewSecret    bool           `json:"new_token_secret"`              // the token secret was lost and is a new one: all tokens are invalid
	Replaced     string         `json:"taken_from,omitempty"`          // host of the Berth that managed the containers before; empty: none, or this one
	Sessions     []Adopted      `json:"sessions"`                      // missing in the store, or with removed containers
	Others       map[string]int `json:"other_installations,omitempty"` // sessions of other installations on the engine, if it has none of this one
}

// OpenEngine connects to the engine on behalf of an installation.
type OpenEngine func(ctx context.Context, installation string) (Engine, error)

// Adopt records the sessions that have containers or volumes on the engine and are missing in the store. No Berth may use the
// store meanwhile. Fields that the engine does not have (owner, metadata, token) are empty. A container that was created under
// another token secret cannot be reached any more: it is removed, and the next start of the session creates another one on the
// same volumes.
func Adopt(ctx context.Context, cfg config.Config, opts AdoptOptions, open OpenEngine, log *slog.Logger) (AdoptReport, error) {
	report := AdoptReport{Sessions: []Adopted{}}
	if cfg.Session.Runtime == config.RuntimeProcess {
		return report, session.Errorf(session.CodeInvalid, "the process runtime has no engine to adopt sessions from")
	}
	err := withBackend(ctx, cfg, log, func(s *Storage) error {
		s.Hold = s.backend.hold()
		ad := adoption{Storage: s, open: open, opts: opts, report: &report}
		return ad.run(ctx)
	})
	return report, err
}

// adoption is one run of [Adopt].
type adoption struct {
	*Storage
	open   OpenEngine
	opts   AdoptOptions
	report *AdoptReport
	others map[string]int // sessions of the other installations on the engine
}

func (a *adoption) run(ctx context.Context) error {
	page, err := a.backend.List(ctx, session.Query{})
	if err != nil {
		return err
	}
	known := session.ByID(page.Sessions)
	if err := a.name(ctx, known); err != nil {
		return err
	}
	engine, err := a.openEngine(ctx, a.report.Installation)
	if err != nil {
		return err
	}
	if !a.opts.DryRun {
		claim, err := a.claimEngine(ctx, engine, randomName(), a.opts.TakeOver)
		if err != nil {
			return err
		}
		a.report.Replaced = claim.replaced
		if err := a.adoptName(ctx); err != nil {
			return err
		}
	}
	keys, err := a.secret(ctx, len(known) > 0)
	if err != nil {
		return err
	}
	hold := a.backend.hold()
	if a.opts.Discard {
		if a.opts.DryRun {
			return nil
		}
		return errors.Join(hold.end(ctx), a.dir.put(newFile, ""))
	}
	if !a.opts.DryRun {
		// An incomplete store cannot be recognised by its emptiness any more.
		if err := hold.Set(ctx, time.Now()); err != nil {
			return err
		}
	}
	left, err := a.adoptAll(ctx, engine, keys)
	if err != nil || left || a.opts.DryRun {
		return err
	}
	return hold.end(ctx)
}

// openEngine closes the engine together with the storage.
func (a *adoption) openEngine(ctx context.Context, installation string) (Engine, error) {
	engine, err := a.open(ctx, installation)
	if err != nil {
		return nil, err
	}
	a.onClose("engine", engine.Close)
	return engine, nil
}

// adoptAll records the sessions, continues past failures, and reports whether anything is left without a record.
func (a *adoption) adoptAll(ctx context.Context, engine Engine, keys access.Keys) (left bool, _ error) {
	remnants, err := engine.Remnants(ctx, keys.Upstream)
	if err != nil {
		return true, err
	}
	var failures []error
	for _, r := range remnants {
		// The session may have been recorded for another of its containers.
		old, err := a.backend.Get(ctx, r.Session)
		isKnown := err == nil
		if session.CodeOf(err) == session.CodeNotFound {
			err = nil
		}
		done := false
		if err == nil {
			done, err = a.adopt(ctx, engine, r, old, isKnown)
		}
		if err != nil {
			failures = append(failures, err)
			a.report.Sessions = append(a.report.Sessions, Adopted{ID: r.Session, Note: "failed: " + session.MessageOf(err)})
		}
		left = left || !done
	}
	if len(remnants) == 0 {
		a.report.Others = a.others
	} else if !a.opts.DryRun {
		failures = append(failures, a.dir.put(newFile, ""))
	}
	return left, errors.Join(failures...)
}

// secret returns the keys, and generates a new secret if it was lost.
func (a *adoption) secret(ctx context.Context, sessions bool) (access.Keys, error) {
	secret := a.cfg.Token.Secret.Reveal()
	if a.generatesSecret() {
		var err error
		if secret, err = a.dir.peek(tokenSecretFile); err == nil && secret == "" {
			secret, err = a.backend.tokenSecret(ctx)
		}
		if err == nil && secret == "" {
			secret, a.report.NewSecret = generateSecret(), sessions
			if !a.opts.DryRun {
				_, err = a.dir.keep(tokenSecretFile, func() string { return secret })
			}
		}
		if err != nil {
			return access.Keys{}, err
		}
	}
	if a.opts.DryRun {
		return access.NewKeys([]byte(secret))
	}
	return a.keys(ctx)
}

// adopt records one session, and reports whether everything of it is recorded then. old is the record in the store.
func (a *adoption) adopt(ctx context.Context, engine Engine, r session.Remnant, old session.Session, isKnown bool) (bool, error) {
	id, err := session.ParseID(string(r.Session))
	found := Adopted{ID: r.Session, Profile: a.profileOf(r)}
	stale := r.Container != nil && !r.Fits
	switch {
	case err != nil:
		found.Note = "its label is not the ID of a session"
		a.report.Sessions = append(a.report.Sessions, found)
		return false, nil //nolint:nilerr // the report says it
	case isKnown && old.ContainerName != r.ContainerName:
		found.Note = "the store has a session of this ID with another container, " + old.ContainerName
		a.report.Sessions = append(a.report.Sessions, found)
		return false, nil
	case len(a.opts.Sessions) > 0 && !slices.Contains(a.opts.Sessions, id):
		return isKnown, nil
	case isKnown && !stale:
		a.report.Known++
		return true, nil
	case isKnown:
		a.report.Known++
		found.Profile, found.Image, found.Status = old.Profile, old.Image, old.Status
	default:
		s := a.record(id, r, found.Profile)
		found.Image, found.Status = s.Image, s.Status
		if !a.opts.DryRun {
			if _, err := a.backend.Create(ctx, s, session.Quota{}); err != nil {
				return false, fmt.Errorf("record session %s: %w", id, err)
			}
		}
		if r.Container == nil {
			found.Note = "only its volumes are left; its next start creates a container"
		}
	}
	if stale {
		found.Note = "its container was created under another token secret and is replaced at its next start; its volumes are kept"
		if !a.opts.DryRun {
			if err := engine.Remove(ctx, r.Container.ID, true); err != nil {
				return false, fmt.Errorf("remove the container of session %s: %w", id, err)
			}
		}
	}
	a.report.Sessions = append(a.report.Sessions, found)
	return true, nil
}

// record is the session as recovered from the engine.
func (a *adoption) record(id session.ID, r session.Remnant, profile string) session.Session {
	now := record.InstantOf(time.Now())
	s := session.Session{
		ID: id, Profile: profile, Image: a.cfg.Profiles[profile].Image, ContainerName: r.ContainerName,
		CreatedAt: r.CreatedAt, LastAccessed: now,
		Timeline: []session.Event{{At: now, Type: session.EventCreated, By: "operator", Reason: "recovered from the engine"}},
	}
	if s.CreatedAt.IsZero() {
		s.CreatedAt = now
	}
	if life := time.Duration(a.cfg.Session.MaxLifetimeHours) * time.Hour; life > 0 {
		s.ExpiresAt = now.Add(life)
	}
	var state session.State
	if c := r.Container; c != nil {
		s.Image, s.HostDir = c.Image, c.HostDir
		if r.Fits {
			s.ContainerID, state = c.ID, c.State
		}
	}
	lifecycle.Intake(&s, lifecycle.FromEngine, string(state))
	return s
}

// profileOf is the profile of a session, as far as it can be derived.
func (a *adoption) profileOf(r session.Remnant) string {
	if _, ok := a.cfg.Profiles[r.Profile]; ok {
		return r.Profile
	}
	standard := a.cfg.Session.Profile
	if r.Port == "" || strconv.Itoa(a.cfg.Profiles[standard].Port) == r.Port {
		return standard
	}
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Profiles)) {
		if strconv.Itoa(a.cfg.Profiles[name].Port) == r.Port {
			return name
		}
	}
	return standard
}
