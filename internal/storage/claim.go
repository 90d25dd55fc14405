package storage

import (
	"context"
	"fmt"
	"time"

	"berth/internal/session"
)

// Engine is what has the containers of installations.
type Engine interface {
	// Claim makes owner the one who manages this installation's containers, in the place of another one only if that does not
	// answer or by force. replaced is the host of that one.
	Claim(ctx context.Context, owner session.EngineOwner, force bool) (replaced string, err error)
	// KeepOwned answers the claims of others until ctx ends. An error says that another one manages the containers now.
	KeepOwned(ctx context.Context, owner session.EngineOwner) error
	// Installations returns the sessions on the engine, by installation.
	Installations(ctx context.Context) (map[string]map[session.ID]bool, error)
	// Answers reports whether a Berth is running that manages the containers of another installation.
	Answers(ctx context.Context, instance string, asker session.EngineOwner) (bool, error)
	// Remnants lists what there is of this installation's sessions. credential says what a container's server is given today.
	Remnants(ctx context.Context, credential func(containerName string) session.Secret) ([]session.Remnant, error)
	Remove(ctx context.Context, ref string, force bool) error
	Close() error
}

// claim keeps a second Berth from the containers of this installation: one whose state directory or database is a copy of
// ours.
type claim struct {
	engine   Engine
	owner    session.EngineOwner
	replaced string // host of another owner before
}

// Claim makes this Berth the one that manages the installation's containers on an engine. The claim is kept by
// [Storage.Run].
func (s *Storage) Claim(ctx context.Context, engine Engine) (err error) {
	if s.claim, err = s.claimEngine(ctx, engine, s.Process, false); err != nil {
		return err
	}
	s.foreign = &foreignSessions{engine: engine, asker: s.claim.owner, own: s.Identity.Instance, dir: s.dir, log: s.log}
	return nil
}

// claimEngine records this Berth as the one that manages the installation's containers. Where it takes the place of
// another, the sessions here may be older than the containers there: those without a record are kept.
func (s *Storage) claimEngine(ctx context.Context, engine Engine, process string, force bool) (*claim, error) {
	owner, err := s.backend.owner(ctx, process)
	if err != nil {
		return nil, err
	}
	replaced, err := engine.Claim(ctx, owner, force)
	if err != nil {
		return nil, err
	}
	if replaced != "" {
		s.log.WarnContext(ctx, "the containers of this installation were managed by another Berth and are now by this one", "owner_host_before", replaced)
		if err := s.Hold.Set(ctx, time.Now()); err != nil {
			return nil, fmt.Errorf("keep the containers that have no record here: %w", err)
		}
	}
	return &claim{engine: engine, owner: owner, replaced: replaced}, nil
}
