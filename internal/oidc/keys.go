package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// keysFreshFor is how long a key that the provider has withdrawn is still accepted.
	keysFreshFor = 15 * time.Minute
	// keysUsableFor is how long keys are accepted while the provider cannot be asked again.
	keysUsableFor = 24 * time.Hour
	// unknownKeyEvery is the shortest time between two requests for keys because of tokens with an unknown key: anybody can
	// send those.
	unknownKeyEvery = 10 * time.Second
	maxKeys         = 64
)

var (
	errUnknownKey = errors.New("no key of the provider has signed the token")
	errNoKeys     = errors.New("the provider's keys are not known")
)

// keySet are the provider's public keys. Unlike the library's own set it forgets keys that the provider has withdrawn, and
// bounds the requests that tokens with unknown keys cause.
type keySet struct {
	url  string
	http *http.Client
	now  func() time.Time
	get  *retry

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time // zero: never
}

var _ gooidc.KeySet = (*keySet)(nil)

func newKeySet(url string, client *http.Client, log *slog.Logger, now func() time.Time) *keySet {
	return &keySet{url: url, http: client, now: now, get: newRetry("keys", log, now)}
}

// VerifySignature implements [gooidc.KeySet]. An error that is errNoKeys says nothing about the token; the library does not
// wrap it, so that it is left in ctx too.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	payload, err := s.verify(ctx, raw)
	if failure, ok := ctx.Value(failureKey{}).(*error); ok {
		*failure = err
	}
	return payload, err
}

func (s *keySet) verify(ctx context.Context, raw string) ([]byte, error) {
	parsed, err := jose.ParseSignedCompact(raw, signatureAlgorithms())
	if err != nil {
		return nil, err
	}
	keys, age, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	if payload, ok := verifyWith(keys, parsed); ok {
		return payload, nil
	}
	if id := parsed.Signatures[0].Header.KeyID; age >= unknownKeyEvery && (id == "" || !hasKey(keys, id)) {
		if err := s.fetchOlderThan(ctx, needed, unknownKeyEvery); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoKeys, err)
		}
		keys, _ = s.known()
		if payload, ok := verifyWith(keys, parsed); ok {
			return payload, nil
		}
	}
	return nil, errUnknownKey
}

// current returns the keys, of at most keysFreshFor if the provider answers.
func (s *keySet) current(ctx context.Context) ([]jose.JSONWebKey, time.Duration, error) {
	keys, age := s.known()
	if keys != nil && age < keysFreshFor {
		return keys, age, nil
	}
	u := needed
	if keys != nil && age < keysUsableFor {
		u = renewal
	}
	err := s.fetchOlderThan(ctx, u, keysFreshFor)
	if keys, age = s.known(); keys == nil || age >= keysUsableFor {
		return nil, 0, fmt.Errorf("%w: %w", errNoKeys, err)
	}
	return keys, age, nil
}

// refresh reads the keys again unless that was done a moment ago.
func (s *keySet) refresh(ctx context.Context) error {
	return s.fetchOlderThan(ctx, needed, unknownKeyEvery)
}

// known returns the keys and their age; nil if there are none yet.
func (s *keySet) known() ([]jose.JSONWebKey, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, s.now().Sub(s.fetched)
}

// fetchOlderThan reads the keys if they have this age.
func (s *keySet) fetchOlderThan(ctx context.Context, u urgency, age time.Duration) error {
	fresh := func() bool {
		keys, have := s.known()
		return keys != nil && have < age
	}
	return s.get.once(ctx, u, fresh, func(ctx context.Context) error {
		keys, err := s.fetch(ctx)
		if err != nil {
			return describe(fmt.Errorf("read keys: %w", err))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.keys, s.fetched = keys, s.now()
		return nil
	})
}

func (s *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the provider answers %s", answer.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the provider has %d keys, at most %d are read", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		// Keys of unknown types are to be ignored: RFC 7517, section 5. So are private and symmetric ones.
		if json.Unmarshal(text, &key) == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the provider has no key for signatures")
	}
	return keys, nil
}

func hasKey(keys []jose.JSONWebKey, id string) bool {
	for _, key := range keys {
		if key.KeyID == id {
			return true
		}
	}
	return false
}

// verifyWith returns the payload of a token that one of the keys has signed. A token without a key ID may be signed by any.
func verifyWith(keys []jose.JSONWebKey, parsed *jose.JSONWebSignature) ([]byte, bool) {
	header := parsed.Signatures[0].Header
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := parsed.Verify(&key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

func signatureAlgorithms() []jose.SignatureAlgorithm {
	all := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, a := range algorithms {
		all[i] = jose.SignatureAlgorithm(a)
	}
	return all
}

type failureKey struct{}

// withFailure returns a ctx that lets VerifySignature put its error into failure.
func withFailure(ctx context.Context, failure *error) context.Context {
	return context.WithValue(ctx, failureKey{}, failure)
}
