package storage

import (
	"context"
	"fmt"
	"time"

	"berth/internal/session"
)

// Engine is the engine with the containers of installations.
type Engine interface {
	// Claim makes owner the manager of this installation's containers. It replaces another owner only if that does not answer
	// or by force. replaced is the host of the replaced owner.
	Claim(ctx context.Context, owner session.EngineOwner, force bool) (replaced string, err error)
	// KeepOwned answers the claims of others until ctx is done. It fails when another owner has taken over the containers.
	KeepOwned(ctx context.Context, owner session.EngineOwner) error
	// Installations returns the sessions on the engine, by installation.
	Installations(ctx context.Context) (map[string]map[session.ID]bool, error)
	// Answers reports whether a Berth is running that manages the containers of another installation.
	Answers(ctx context.Context, instance string, asker session.EngineOwner) (bool, error)
	// Remnants lists the containers and volumes of this installation's sessions. credential is the current credential of a
	// container's server.
	Remnants(ctx context.Context, credential func(containerName string) session.Secret) ([]session.Remnant, error)
	Remove(ctx context.Context, ref string, force bool) error
	Close() error
}

// claim excludes a second Berth, with a copy of our state directory or database, from the containers of this installation.
type claim struct {
	engine   Engine
	owner    session.EngineOwner
	replaced string // host of the previous owner; "" if there was none
}

// Claim makes this Berth the manager of the installation's containers on an engine. [Storage.Run] maintains the claim.
func (s *Storage) Claim(ctx context.Context, engine Engine) (err error) {
	if s.claim, err = s.claimEngine(ctx, engine, s.Process, false); err != nil {
		return err
	}
	s.foreign = &foreignSessions{engine: engine, asker: s.claim.owner, own: s.Identity.Instance, dir: s.dir, log: s.log}
	return nil
}

// claimEngine records this Berth as the manager of the installation's containers. If it replaces another Berth, the records
// here may be older than the containers: containers without a record are kept then.
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
		s.log.WarnContext(ctx, "took over the containers of this installation from another Berth", "owner_host_before", replaced)
		if err := s.Hold.Set(ctx, time.Now()); err != nil {
			return nil, fmt.Errorf("keep the containers that have no record here: %w", err)
		}
	}
	return &claim{engine: engine, owner: owner, replaced: replaced}, nil
}
