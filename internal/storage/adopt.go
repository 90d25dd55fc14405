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

// AdoptOptions say what is to be brought back.
type AdoptOptions struct {
	Installation string       // whose containers; empty: this one's, or the only other one's on the engine where this one has none
	Sessions     []session.ID // empty: all
	TakeOver     bool         // also from another Berth that is running
	Discard      bool         // bring nothing back: containers without a session may be removed
	DryRun       bool
}

// Adopted is one session that was found on the engine.
type Adopted struct {
	ID      session.ID     `json:"session_id"`
	Profile string         `json:"profile"`
	Image   string         `json:"image,omitempty"`
	Status  session.Status `json:"status,omitempty"` // that it is recorded with; empty: it was not brought back
	Note    string         `json:"note,omitempty"`   // a clause for people
}

// AdoptReport says what was found, and what was done.
type AdoptReport struct {
	Installation string         `json:"instance"`
	Known        int            `json:"known"`                         // sessions that the store had
	NewSecret    bool           `json:"new_token_secret"`              // the token secret was lost and is a new one: every token is void
	Replaced     string         `json:"taken_from,omitempty"`          // host of the Berth that managed the containers before; empty: none, or this one
	Sessions     []Adopted      `json:"sessions"`                      // that the store did not have, or with containers that were removed
	Others       map[string]int `json:"other_installations,omitempty"` // sessions of other installations on the engine, where it has none of this one
}

// OpenEngine connects to the engine on behalf of an installation.
type OpenEngine func(ctx context.Context, installation string) (Engine, error)

// Adopt makes records of the sessions whose containers or volumes the engine has and the store has not. No Berth may use
// the store meanwhile. What a container cannot tell (owner, metadata, token) is empty. A container that was made under
// another token secret cannot be reached any more: it is removed, and its session gets another one on the same volumes at
// its next start.
func Adopt(ctx context.Context, cfg config.Config, opts AdoptOptions, open OpenEngine, log *slog.Logger) (AdoptReport, error) {
	report := AdoptReport{Sessions: []Adopted{}}
	if cfg.Session.Runtime == config.RuntimeProcess {
		return report, session.Errorf(session.CodeInvalid, "the process runtime keeps everything in the state directory, so there is nothing to adopt from an engine")
	}
	err := byHand(ctx, cfg, log, func(s *Storage) error {
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
		if err := a.takeName(ctx); err != nil {
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
		// A store that has some of the sessions only no longer looks like one that has lost them.
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

// adoptAll records the sessions, goes on past those that fail, and reports whether anything is left without a record.
func (a *adoption) adoptAll(ctx context.Context, engine Engine, keys access.Keys) (left bool, _ error) {
	remnants, err := engine.Remnants(ctx, keys.Upstream)
	if err != nil {
		return true, err
	}
	var failures []error
	for _, r := range remnants {
		// Another container of the same session may have been recorded a moment ago.
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

// secret returns the keys, and makes a new secret where it was lost.
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

// adopt records one session, and reports whether nothing of it is without a record afterwards. old is what the store has.
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
			if _, err := a.backend.Create(ctx, s, session.Unlimited); err != nil {
				return false, fmt.Errorf("record session %s: %w", id, err)
			}
		}
		if r.Container == nil {
			found.Note = "only its volumes are left; it gets a container at its next start"
		}
	}
	if stale {
		found.Note = "its container was made under another token secret and is replaced at its next start; its volumes stay"
		if !a.opts.DryRun {
			if err := engine.Remove(ctx, r.Container.ID, true); err != nil {
				return false, fmt.Errorf("remove the container of session %s: %w", id, err)
			}
		}
	}
	a.report.Sessions = append(a.report.Sessions, found)
	return true, nil
}

// record is what the engine tells of a session.
func (a *adoption) record(id session.ID, r session.Remnant, profile string) session.Session {
	now := record.InstantOf(time.Now())
	s := session.Session{
		ID: id, Profile: profile, Image: a.cfg.Profiles[profile].Image, ContainerName: r.ContainerName,
		CreatedAt: r.CreatedAt, LastAccessed: now,
		Timeline: []session.Event{{At: now, Type: session.EventCreated, By: "operator", Reason: "brought back from the engine"}},
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

// profileOf is the profile that a session was made with, as far as that can be known.
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
