package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"berth/internal/docker"
	"berth/internal/session"
)

// engineOwner keeps a second Berth from the containers of this installation: one whose state directory or database is a
// copy of ours.
type engineOwner struct {
	runtime  *docker.Runtime
	owner    docker.Owner
	replaced string // host of another owner before
}

// claimEngine writes this Berth down as the one who manages the installation's containers. Where it takes the place of
// another, the sessions here may be older than the containers there: those without a record are kept.
func (a *App) claimEngine(ctx context.Context, s state, r *docker.Runtime, store storage, force bool) (*engineOwner, error) {
	owner, err := ownerOf(ctx, s, store)
	if err != nil {
		return nil, err
	}
	replaced, err := r.Claim(ctx, owner, force)
	if err != nil {
		return nil, err
	}
	if replaced != "" {
		a.log.WarnContext(ctx, "the containers of this installation were managed by another Berth and are now by this one", "owner_host_before", replaced)
		if err := store.hold.Set(ctx, time.Now()); err != nil {
			return nil, fmt.Errorf("keep the containers that have no record here: %w", err)
		}
	}
	return &engineOwner{runtime: r, owner: owner, replaced: replaced}, nil
}

// keep answers other Berths until ctx ends. An error says that another one manages the containers now.
func (e *engineOwner) keep(ctx context.Context) error {
	if e == nil {
		return nil
	}
	return e.runtime.KeepOwned(ctx, e.owner)
}

// ownerOf tells this Berth from a copy of it. Sessions in a file belong to the directory that they are in, on this boot of
// this machine; sessions in a database to the database, whatever instances there are.
func ownerOf(ctx context.Context, s state, store storage) (docker.Owner, error) {
	host, _ := os.Hostname() // for operators
	place, err := s.place()
	if err != nil {
		return docker.Owner{}, err
	}
	if store.database == nil {
		return docker.Owner{ID: place, Process: store.process, Host: host}, nil
	}
	owner := docker.Owner{Former: []string{place}, Host: host}
	known, err := s.peek(ownerFile)
	if err != nil {
		return docker.Owner{}, err
	}
	id, err := store.database.store.Identity(ctx)
	switch {
	case err == nil:
		owner.ID = databasePrefix + id
	case known != "": // it is away
		owner.ID = known
	case session.CodeOf(err) == session.CodeStoreUnavailable: // and was never reached
		owner.ID = place
		return owner, nil
	default: // it does not tell its users what it is
		if owner.ID, err = store.database.store.Keep(ctx, sharedOwner, databasePrefix+randomName()); err != nil {
			return docker.Owner{}, fmt.Errorf("find out which database this is: %w", err)
		}
	}
	return owner, s.put(ownerFile, owner.ID)
}

// sharedOwner is the setting of a database that does not tell its users what it is.
const sharedOwner = "owner"

// place names the state directory, and no copy of it anywhere.
func (s state) place() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil { // not Linux
		host, _ := os.Hostname()
		boot = []byte(host)
	}
	info, err := os.Stat(string(s))
	if err != nil {
		return "", fmt.Errorf("look at the state directory: %w", err)
	}
	at, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("look at the state directory: its inode is not known")
	}
	return fmt.Sprintf("directory:%s/%d/%d", strings.TrimSpace(string(boot)), at.Dev, at.Ino), nil
}

// notACopy refuses a state directory whose sessions are processes of this machine and belong to the directory that it was
// copied from. One that was moved is taken.
func (s state) notACopy() error {
	place, err := s.place()
	if err != nil {
		return err
	}
	path, err := filepath.Abs(string(s))
	if err != nil {
		return fmt.Errorf("find the state directory: %w", err)
	}
	known, err := s.peek(placeFile)
	if err != nil {
		return err
	}
	if before, original, ok := strings.Cut(known, " "); ok && before != place {
		if there, err := state(original).place(); err == nil && there == before {
			return session.Errorf(session.CodeConflict, "%s is a copy of %s, and its sessions are processes that belong to that one: "+
				"two Berths must not share them. Begin with an empty BERTH_STATE_DIR, or remove the original", path, original)
		}
	}
	return s.put(placeFile, place+" "+path)
}
