package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"berth/internal/access"
	"berth/internal/atomicfile"
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
)

// sharedTokens are the platform tokens of the database. There is no fallback for their changes: a token that was created must not
// be lost, and one that was revoked must not be accepted by other processes.
type sharedTokens struct{ *database }

var _ access.TokenStore = sharedTokens{}

var errTokensAway = session.Errorf(session.CodeStoreUnavailable,
	"platform tokens cannot be created or revoked while the database is unavailable; those that are known keep working")

func (t sharedTokens) isAway() bool { return t.failover != nil && t.failover.Degraded() }

// PlatformTokens returns the tokens of the database; while it is unavailable, those that have not reached it yet, if that is
// the reason why this process has not read others.
func (t sharedTokens) PlatformTokens(ctx context.Context) ([]access.PlatformToken, error) {
	if !t.isAway() {
		return t.database.PlatformTokens(ctx)
	}
	waiting, err := t.dir.waitingTokens()
	if err == nil && len(waiting) == 0 {
		err = errTokensAway
	}
	return waiting, err
}

// CreatePlatformToken implements [access.TokenStore].
func (t sharedTokens) CreatePlatformToken(ctx context.Context, token access.PlatformToken, most int) error {
	if t.isAway() {
		return errTokensAway
	}
	return t.database.CreatePlatformToken(ctx, token, most)
}

// DeletePlatformToken implements [access.TokenStore].
func (t sharedTokens) DeletePlatformToken(ctx context.Context, id access.TokenID) error {
	if t.isAway() {
		return errTokensAway
	}
	return t.database.DeletePlatformToken(ctx, id)
}

// TouchPlatformTokens implements [access.TokenStore]. It does not wait for a database that is known to be unavailable.
func (t sharedTokens) TouchPlatformTokens(ctx context.Context, at map[access.TokenID]time.Time) error {
	if t.isAway() {
		return errTokensAway
	}
	return t.database.TouchPlatformTokens(ctx, at)
}

// waitingTokens are the platform tokens of the file, if the database could not be reached when its sessions were moved.
func (d Dir) waitingTokens() ([]access.PlatformToken, error) {
	data, err := os.ReadFile(d.path(waitingTokensFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError{err}
	}
	contents, err := jsonfile.Read(data, func(string) string { return "" })
	if err != nil {
		return nil, fileError{fmt.Errorf("read %s: %w", d.path(waitingTokensFile), err)}
	}
	return contents.PlatformTokens, nil
}

// keepWaiting keeps platform tokens until the database can be reached.
func (d Dir) keepWaiting(tokens []access.PlatformToken) error {
	if len(tokens) == 0 {
		return nil
	}
	return jsonfile.CreateFile(d.path(waitingTokensFile), nil, tokens...)
}

// moveWaiting moves the waiting tokens into the database. It may be repeated.
func (db *database) moveWaiting(ctx context.Context) error {
	waiting, err := db.dir.waitingTokens()
	if err != nil || len(waiting) == 0 {
		return err
	}
	if _, err := addTokens(ctx, db, waiting); err != nil {
		return err
	}
	if err := atomicfile.Remove(db.dir.path(waitingTokensFile)); err != nil {
		return fileError{err}
	}
	return nil
}

// addTokens adds platform tokens to a store, except those that it has, and returns how many it added. One whose name is taken by
// another token gets the name with a part of its ID. It may be repeated.
func addTokens(ctx context.Context, to access.TokenStore, tokens []access.PlatformToken) (added int, err error) {
	if len(tokens) == 0 {
		return 0, nil
	}
	present, err := to.PlatformTokens(ctx)
	if err != nil {
		return 0, err
	}
	ids, names := map[access.TokenID]bool{}, map[string]bool{}
	for _, t := range present {
		ids[t.ID], names[t.Name] = true, true
	}
	for _, t := range tokens {
		if ids[t.ID] {
			continue
		}
		if names[t.Name] {
			t.Name = t.Name[:min(len(t.Name), 47)] + "-" + string(t.ID[len(t.ID)-min(len(t.ID), 16):])
		}
		if err := to.CreatePlatformToken(ctx, t, access.MostTokens); err != nil {
			return added, fmt.Errorf("add the platform token %s: %w", t.ID, err)
		}
		names[t.Name] = true
		added++
	}
	return added, nil
}
