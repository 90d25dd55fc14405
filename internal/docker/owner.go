package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"berth/internal/session"
)

// The owner of an installation's containers is recorded on the engine, where every other Berth finds it: in the labels of an
// empty volume, the mark. Labels cannot be changed, and a volume that exists is not made a second time, so that one of
// several concurrent writers wins. Nothing is written in normal operation. A process that finds another owner makes a second
// volume, the claim; a running owner removes the claim, and keeps the containers.
const (
	labelOwner     = "berth.owner"         // owner of the installation's containers; see [session.EngineOwner]
	labelOwnerRun  = "berth.owner.process" // its process
	labelOwnerHost = "berth.owner.host"    // for operators

	ownerEvery   = 2 * time.Second        // between two checks by an owner
	claimTimeout = 10 * time.Second       // after which an owner that has not answered a claim counts as stopped
	claimEvery   = 250 * time.Millisecond // between two checks by a claimant
	ownerTimeout = 5 * time.Second        // of one request to the engine
)

func ownerMark(instance string) string  { return "berth-owner-" + instance }
func ownerClaim(instance string) string { return "berth-claim-" + instance }

// Claim makes owner the owner of this installation's containers. Another owner is asked, for up to 10 s, whether it is
// running: if it answers, the error is CodeConflict and nothing has changed; if not, it is replaced. With force it is
// replaced without being asked, and notices within seconds. replaced is the host of the previous owner, empty when there was
// none or the same.
func (r *Runtime) Claim(ctx context.Context, owner session.EngineOwner, force bool) (replaced string, err error) {
	for range claimTries {
		mark, err := r.labelsOf(ctx, ownerMark(r.instance))
		if err != nil {
			return "", err
		}
		host := cmp.Or(mark[labelOwnerHost], "another host")
		switch {
		case mark == nil:
		case mark[labelOwner] == owner.ID && (owner.Process == "" || mark[labelOwnerRun] == owner.Process):
			return replaced, nil
		case mark[labelOwner] == owner.ID: // an earlier process with the same store: it has ended, or the store could not have been opened
		case slices.Contains(owner.Former, mark[labelOwner]):
		case force:
			replaced = host
		default:
			r.log.WarnContext(ctx, "containers are managed by another Berth, asking whether it is running",
				"owner_host", host, "at_most", claimTimeout)
			answered, err := r.challenge(ctx, r.instance, owner)
			if err != nil {
				return "", err
			}
			if answered {
				if mark, err = r.labelsOf(ctx, ownerMark(r.instance)); err == nil && mark[labelOwner] != owner.ID {
					err = ownedBy(host)
				}
				if err != nil {
					return "", err
				}
				continue // another process on the same database has replaced it
			}
			replaced = host
		}
		if err := r.removeMark(ctx, ownerMark(r.instance)); err != nil {
			return "", err
		}
		if err := r.makeMark(ctx, ownerMark(r.instance), r.instance, owner, owner.Process); err != nil {
			return "", err
		}
	}
	return "", session.Errorf(session.CodeConflict, "other processes keep replacing the owner of this installation's containers; stop them first")
}

// claimTries is how often the mark is written before Claim fails.
const claimTries = 10

func ownedBy(host string) error {
	return session.Errorf(session.CodeConflict, "the containers of this installation are managed by another Berth, which is running on %s: "+
		"two must not share them. Stop that one; or, if this is a copy, give it a state directory of its own. "+
		"To take the containers from it, run berth store adopt --take-over", host)
}

// Answers asks, for up to 10 s, whether a Berth that manages the containers of another installation is running, and changes
// nothing. asker is the owner that asks. It waits for other askers: their claim would look answered if it were replaced. A
// claim older than the time-out belongs to a process that was killed, and is removed.
func (r *Runtime) Answers(ctx context.Context, instance string, asker session.EngineOwner) (bool, error) {
	mark, err := r.labelsOf(ctx, ownerMark(instance))
	if err != nil || mark == nil {
		return false, err
	}
	again := time.NewTicker(claimEvery)
	defer again.Stop()
	claimed := ownerClaim(instance)
	var others string // the claim of another asker that is awaited
	var since time.Time
	for until := time.Now().Add(claimTries * claimTimeout); time.Now().Before(until); {
		claim, made, err := r.markOf(ctx, claimed)
		if now := made + claim[labelOwner]; now != others {
			others, since = now, time.Now()
		}
		if err == nil && claim != nil && time.Since(since) > claimTimeout+ownerTimeout {
			claim, err = nil, r.removeMark(ctx, claimed)
		}
		if err == nil && claim == nil {
			if err = r.makeMark(ctx, claimed, instance, asker, ""); err == nil {
				claim, err = r.labelsOf(ctx, claimed)
			}
		}
		if err != nil {
			return false, err
		}
		if claim[labelOwner] == asker.ID {
			return r.challenge(ctx, instance, asker)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return false, session.Errorf(session.CodeConflict, "other processes keep asking for the owner of the installation %q; try again later", instance)
}

// challenge asks the owner in an installation's mark whether it is running, and reports whether it has answered in time.
func (r *Runtime) challenge(ctx context.Context, instance string, owner session.EngineOwner) (answered bool, err error) {
	claimed := ownerClaim(instance)
	if err := r.makeMark(ctx, claimed, instance, owner, ""); err != nil {
		return false, err
	}
	deadline := time.NewTimer(claimTimeout)
	defer deadline.Stop()
	again := time.NewTicker(claimEvery)
	defer again.Stop()
	for {
		claim, err := r.labelsOf(ctx, claimed)
		if err != nil || claim == nil {
			return err == nil, err
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return false, r.removeMark(ctx, claimed)
		case <-ctx.Done():
			_ = r.removeMark(context.WithoutCancel(ctx), claimed) // the next claimant would wait for it
			return false, context.Cause(ctx)
		}
	}
}

// KeepOwned answers the claims of others until ctx ends, and then returns nil. It returns a CodeConflict error as soon as
// another owner manages the containers: they must not be changed from then on.
func (r *Runtime) KeepOwned(ctx context.Context, owner session.EngineOwner) error {
	tick := time.NewTicker(ownerEvery)
	defer tick.Stop()
	for {
		if err := r.keepOwnership(ctx, owner); session.CodeOf(err) == session.CodeConflict {
			return err
		} else if err != nil && ctx.Err() == nil {
			r.log.DebugContext(ctx, "check of the containers' owner failed, retrying", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Runtime) keepOwnership(ctx context.Context, owner session.EngineOwner) error {
	mark, err := r.labelsOf(ctx, ownerMark(r.instance))
	switch {
	case err != nil:
		return err
	case mark == nil: // it was pruned with the unused volumes; another writer's mark is seen at the next check
		return r.makeMark(ctx, ownerMark(r.instance), r.instance, owner, owner.Process)
	case mark[labelOwner] != owner.ID || owner.Process != "" && mark[labelOwnerRun] != owner.Process:
		return session.Errorf(session.CodeConflict, "another Berth, on %s, manages the containers of this installation now: this one leaves them alone and stops. "+
			"See whether its state directory or database is a copy of this one", cmp.Or(mark[labelOwnerHost], "another host"))
	}
	claim, err := r.labelsOf(ctx, ownerClaim(r.instance))
	if err != nil || claim == nil {
		return err
	}
	r.log.WarnContext(ctx, "claim of another Berth to this installation's containers refused", "claimant_host", claim[labelOwnerHost])
	return r.removeMark(ctx, ownerClaim(r.instance))
}

// labelsOf returns the labels of a volume, nil when it does not exist.
func (r *Runtime) labelsOf(ctx context.Context, name string) (map[string]string, error) {
	labels, _, err := r.markOf(ctx, name)
	return labels, err
}

// markOf is labelsOf that also returns when the volume was made, as the engine writes it.
func (r *Runtime) markOf(ctx context.Context, name string) (labels map[string]string, made string, err error) {
	err = r.bounded(ctx, "look for the owner of the containers", ownerTimeout, func(ctx context.Context) error {
		got, err := r.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if errdefs.IsNotFound(err) {
			return nil
		}
		if labels, made = got.Volume.Labels, got.Volume.CreatedAt; err == nil && labels == nil {
			labels = map[string]string{}
		}
		return err
	})
	return labels, made, err
}

func (r *Runtime) makeMark(ctx context.Context, name, instance string, owner session.EngineOwner, run string) error {
	return r.bounded(ctx, "record the owner of the containers", ownerTimeout, func(ctx context.Context) error {
		_, err := r.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Driver: "local", Labels: map[string]string{
			labelInstance: instance, labelOwner: owner.ID, labelOwnerRun: run, labelOwnerHost: owner.Host,
		}})
		return err
	})
}

func (r *Runtime) removeMark(ctx context.Context, name string) error {
	return r.bounded(ctx, "remove the mark of an owner", ownerTimeout, func(ctx context.Context) error {
		_, err := r.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", name, err)
		}
		return nil
	})
}
