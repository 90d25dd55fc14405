package access

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
)

// Registry knows all platform tokens in memory, so that they are checked without the store, and while it is unavailable. Make it
// with [OpenRegistry]. It is safe for concurrent use.
type Registry struct {
	store TokenStore
	keys  Keys
	now   func() time.Time
	log   *slog.Logger

	changing sync.Mutex                  // held during every change, and while the store is read
	known    atomic.Pointer[knownTokens] // nil: the store could not be read yet
	ids      atomic.Pointer[map[TokenID]*knownToken]
	retry    atomic.Bool // the known tokens may be out of date
}

// knownTokens are the tokens by their digests. The map is never changed.
type knownTokens map[string]*knownToken

type knownToken struct {
	PlatformToken
	valid context.Context //nolint:containedctx // not of a call: it ends at the revocation
	end   context.CancelCauseFunc
	used  atomic.Pointer[time.Time] // nil: not since it is known
	noted *time.Time                // the last use that the store has; of Run alone
}

// RegistryOptions are the parts of a Registry.
type RegistryOptions struct {
	Store  TokenStore
	Keys   Keys
	Now    func() time.Time // default: time.Now
	Logger *slog.Logger
}

// OpenRegistry reads the tokens. A store that is unavailable is no error: its tokens are read by [Registry.Run] later.
func OpenRegistry(ctx context.Context, o RegistryOptions) (*Registry, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Registry{store: o.Store, keys: o.Keys, now: o.Now, log: o.Logger}
	if err := r.Reload(ctx); err != nil && session.CodeOf(err) != session.CodeStoreUnavailable {
		return nil, err
	}
	return r, nil
}

// errRevoked is the cause with which the requests of a token end.
var errRevoked = session.Errorf(session.CodeUnauthorized, "this token was revoked")

// Reload reads all tokens. Requests with those that are gone end.
func (r *Registry) Reload(ctx context.Context) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	all, err := r.store.PlatformTokens(ctx)
	if err != nil {
		r.retry.Store(true)
		return err
	}
	r.retry.Store(false)
	r.replace(all)
	return nil
}

// replace makes these the known tokens. The caller holds changing.
func (r *Registry) replace(all []PlatformToken) {
	before, after := r.tokens(), make(knownTokens, len(all))
	for _, t := range all {
		if old, ok := before[t.Digest]; ok && old.ID == t.ID && old.Scopes == t.Scopes && old.Owner == t.Owner && old.ExpiresAt.Equal(t.ExpiresAt) {
			after[t.Digest] = old
			continue
		}
		after[t.Digest] = know(t)
	}
	ids := make(map[TokenID]*knownToken, len(after))
	for _, t := range after {
		ids[t.ID] = t
	}
	r.known.Store(&after)
	r.ids.Store(&ids)
	for digest, old := range before {
		if after[digest] != old {
			old.end(errRevoked)
		}
	}
}

func know(t PlatformToken) *knownToken {
	valid, end := context.WithCancelCause(context.Background())
	return &knownToken{PlatformToken: t, valid: valid, end: end}
}

func (r *Registry) tokens() knownTokens {
	if known := r.known.Load(); known != nil {
		return *known
	}
	return nil
}

// errNotRead is the error of a request with a platform token that cannot be checked.
var errNotRead = session.Errorf(session.CodeStoreUnavailable, "platform tokens cannot be checked, because the store could not be read since Berth has started")

// noToken takes the place of a token that does not exist in comparisons.
var noToken = &knownToken{}

// verify returns the principal of a platform token. Whatever is wrong, it computes one digest and makes one comparison. The error
// is that of a token that cannot be checked.
func (r *Registry) verify(secret session.Secret) (Principal, TokenState, error) {
	if r == nil {
		return Principal{}, Wrong, nil
	}
	if r.known.Load() == nil && strings.HasPrefix(secret.Reveal(), platformPrefix) {
		return Principal{}, Wrong, errNotRead
	}
	digest := r.keys.PlatformDigest(secret)
	t, ok := r.tokens()[digest]
	if !ok {
		t = noToken
	}
	now := r.now()
	switch {
	case !equalDigest(digest, t.Digest):
		return Principal{}, Wrong, nil
	case !session.Unexpired(t.ExpiresAt, now):
		return Principal{}, Expired, nil
	}
	t.use(now)
	return Principal{Kind: Platform, Owner: t.Owner, Scopes: t.Scopes, Name: t.Name, Until: t.ExpiresAt, token: t}, Present, nil
}

// behind returns the token with this ID, if it is valid; the empty ID is that of none, and valid.
func (r *Registry) behind(id string) (t *knownToken, valid bool) {
	if id == "" {
		return nil, true
	}
	if r == nil {
		return nil, false
	}
	if ids := r.ids.Load(); ids != nil {
		t = (*ids)[TokenID(id)]
	}
	return t, t != nil && session.Unexpired(t.ExpiresAt, r.now())
}

// useEvery is how exactly the last use of a token is known.
const useEvery = time.Minute

func (k *knownToken) use(now time.Time) {
	if last := k.used.Load(); last == nil || now.Sub(*last) >= useEvery || now.Before(*last) {
		k.used.Store(&now)
	}
}

// TokenRequest is a token to create.
type TokenRequest struct {
	Name   string
	Scopes Scopes
	Owner  string        // empty: it is bound to nobody
	Life   time.Duration // after which it expires; 0: never
}

// Create makes a token, and returns its secret, which is shown once. Errors: CodeInvalid, CodeConflict, CodeLimit, and
// CodeStoreUnavailable, with which there may be a token that nobody has the secret of.
func (r *Registry) Create(ctx context.Context, req TokenRequest) (PlatformToken, session.Secret, error) {
	now := r.now().UTC().Truncate(time.Microsecond)
	t := PlatformToken{
		ID: NewTokenID(), Name: req.Name, Scopes: req.Scopes, Owner: req.Owner, CreatedAt: now, CreatedBy: session.ActorOf(ctx),
	}
	if err := t.check(req.Life); err != nil {
		return PlatformToken{}, "", err
	}
	if req.Life != 0 {
		t.ExpiresAt = now.Add(req.Life)
	}
	secret := platformPrefix + NewToken(platformRandom)
	t.Digest = r.keys.PlatformDigest(secret)
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := r.store.CreatePlatformToken(ctx, t, MostTokens); err != nil {
		return PlatformToken{}, "", err
	}
	r.replace(append(r.records(), t))
	return t, secret, nil
}

// Revoke removes a token. Requests with it end. Errors: CodeNotFound, CodeStoreUnavailable.
func (r *Registry) Revoke(ctx context.Context, id TokenID) (PlatformToken, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	all := r.records()
	i := slices.IndexFunc(all, func(t PlatformToken) bool { return t.ID == id })
	revoked := PlatformToken{ID: id}
	if i >= 0 {
		revoked = all[i]
	}
	err := r.store.DeletePlatformToken(ctx, id)
	if i >= 0 && (err == nil || session.CodeOf(err) == session.CodeNotFound) { // it may have been revoked elsewhere
		r.replace(slices.Delete(all, i, i+1))
	}
	return revoked, err
}

// records are the known tokens in the order of their creation.
func (r *Registry) records() []PlatformToken {
	all := make([]PlatformToken, 0, len(r.tokens())+1)
	for _, k := range r.tokens() {
		t := k.PlatformToken
		if used := k.used.Load(); used != nil && used.After(t.LastUsedAt) {
			t.LastUsedAt = used.UTC().Truncate(time.Microsecond)
		}
		all = append(all, t)
	}
	slices.SortFunc(all, byCreation)
	return all
}

func byCreation(a, b PlatformToken) int {
	if order := a.CreatedAt.Compare(b.CreatedAt); order != 0 {
		return order
	}
	return strings.Compare(string(a.ID), string(b.ID))
}

// List returns all tokens in the order of their creation, those of memory while the store is unavailable.
func (r *Registry) List(ctx context.Context) ([]PlatformToken, error) {
	stored, err := r.store.PlatformTokens(ctx)
	switch {
	case session.CodeOf(err) == session.CodeStoreUnavailable && r.known.Load() != nil:
		return r.records(), nil
	case err != nil:
		return nil, err
	}
	used := map[TokenID]time.Time{}
	for _, t := range r.records() {
		used[t.ID] = t.LastUsedAt
	}
	for i := range stored {
		if here := used[stored[i].ID]; here.After(stored[i].LastUsedAt) {
			stored[i].LastUsedAt = here
		}
	}
	return stored, nil
}

const (
	// reloadEvery is how often the tokens are read without a notification of a change.
	reloadEvery = 30 * time.Second
	// retryReload is the delay before a retry after the store could not be read.
	retryReload = time.Second
	// expiredKept is how long a token is listed after its expiry.
	expiredKept = 7 * 24 * time.Hour
)

// Run reads the tokens when they may have changed, writes when they were used, and removes those that expired long ago, until
// ctx is done. changed says that another process may have changed them; nil: nobody else does.
func (r *Registry) Run(ctx context.Context, changed <-chan struct{}) error {
	uses, retries := time.NewTicker(useEvery), time.NewTicker(retryReload)
	defer uses.Stop()
	defer retries.Stop()
	read := r.now()
	for {
		select {
		case <-ctx.Done():
			r.writeUses(context.WithoutCancel(ctx))
			return nil
		case <-uses.C:
			r.writeUses(ctx)
			r.sweep(ctx)
			continue
		case <-changed:
		case <-retries.C:
			if !r.retry.Load() && (changed == nil || r.now().Sub(read) < reloadEvery) {
				continue
			}
		}
		read = r.now()
		if err := r.Reload(ctx); err != nil {
			r.log.DebugContext(ctx, "platform tokens not read, those in memory are used", "error", err)
		}
	}
}

// writeUses writes the last uses that the store does not have. A failure is retried with the next ones.
func (r *Registry) writeUses(ctx context.Context) {
	at, noted := map[TokenID]time.Time{}, map[*knownToken]*time.Time{}
	for _, k := range r.tokens() {
		if used := k.used.Load(); used != k.noted {
			at[k.ID], noted[k] = used.UTC().Truncate(time.Microsecond), used
		}
	}
	if len(at) == 0 {
		return
	}
	if err := r.store.TouchPlatformTokens(ctx, at); err != nil {
		r.log.DebugContext(ctx, "last uses of platform tokens not written, retrying", "error", err)
		return
	}
	for k, used := range noted {
		k.noted = used
	}
}

// sweep removes the tokens that expired long ago.
func (r *Registry) sweep(ctx context.Context) {
	for _, t := range r.records() {
		if session.Unexpired(t.ExpiresAt, r.now().Add(-expiredKept)) {
			continue
		}
		if _, err := r.Revoke(ctx, t.ID); err == nil {
			r.log.InfoContext(ctx, "expired platform token removed", "operation", "sweep_tokens", "token", t.Name, "token_id", t.ID)
		}
	}
}
