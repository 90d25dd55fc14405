package jsonfile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"berth/internal/access"
)

// tokensMember of the envelope has the platform tokens. A Berth that does not know it keeps it as it is.
const tokensMember = "platform_tokens"

var _ access.TokenStore = (*Store)(nil)

// tokensOf reads the platform tokens of an envelope. Its errors complete a sentence that begins with the file's name.
func tokensOf(envelope map[string]json.RawMessage) ([]access.PlatformToken, error) {
	text, ok := envelope[tokensMember]
	if !ok {
		return nil, nil
	}
	var all []access.PlatformToken
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("is damaged: its member %q: %w", tokensMember, err)
	}
	seen := map[access.TokenID]bool{}
	for i, t := range all {
		if t.ID == "" || t.Name == "" || len(t.Digest) == 0 || seen[t.ID] {
			return nil, fmt.Errorf("is damaged: its member %q: entry %d has no id, name or digest, or the id of another one", tokensMember, i)
		}
		seen[t.ID] = true
	}
	return all, nil
}

// setTokens replaces the platform tokens; the envelope of the version before is not changed.
func (im *image) setTokens(all []access.PlatformToken) error {
	extra := maps.Clone(im.extra)
	if extra == nil {
		extra = map[string]json.RawMessage{}
	}
	delete(extra, tokensMember)
	if len(all) > 0 {
		text, err := json.Marshal(slices.SortedFunc(slices.Values(all), byCreation))
		if err != nil {
			return err
		}
		extra[tokensMember] = text
	}
	im.extra = extra
	return nil
}

func byCreation(a, b access.PlatformToken) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// PlatformTokens implements [access.TokenStore].
func (s *Store) PlatformTokens(ctx context.Context) ([]access.PlatformToken, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	extra := s.stored.extra
	s.mu.Unlock()
	all, err := tokensOf(extra)
	if err != nil {
		return nil, unusable("read the platform tokens of", s.disk.path, err)
	}
	return all, nil
}

// CreatePlatformToken implements [access.TokenStore].
func (s *Store) CreatePlatformToken(ctx context.Context, t access.PlatformToken, most int) error {
	return s.changeTokens(ctx, grows, func(all []access.PlatformToken) ([]access.PlatformToken, error) {
		switch {
		case slices.ContainsFunc(all, func(other access.PlatformToken) bool { return other.Name == t.Name || other.ID == t.ID }):
			return nil, access.NameTaken(t.Name)
		case len(all) >= most:
			return nil, access.TooManyTokens(most)
		}
		return append(all, t), nil
	})
}

// DeletePlatformToken implements [access.TokenStore].
func (s *Store) DeletePlatformToken(ctx context.Context, id access.TokenID) error {
	return s.changeTokens(ctx, frees, func(all []access.PlatformToken) ([]access.PlatformToken, error) {
		i := slices.IndexFunc(all, func(t access.PlatformToken) bool { return t.ID == id })
		if i < 0 {
			return nil, access.NoSuchToken()
		}
		return slices.Delete(all, i, i+1), nil
	})
}

// TouchPlatformTokens implements [access.TokenStore].
func (s *Store) TouchPlatformTokens(ctx context.Context, at map[access.TokenID]time.Time) error {
	return s.changeTokens(ctx, grows, func(all []access.PlatformToken) ([]access.PlatformToken, error) {
		for i, t := range all {
			all[i].LastUsedAt = later(t.LastUsedAt, at[t.ID])
		}
		return all, nil
	})
}

func (s *Store) changeTokens(ctx context.Context, did effect, change func([]access.PlatformToken) ([]access.PlatformToken, error)) error {
	return s.submit(ctx, func(d *draft) (effect, error) {
		all, err := tokensOf(d.extra)
		if err != nil {
			return nothing, unusable("read the platform tokens of", s.disk.path, err)
		}
		if all, err = change(all); err != nil {
			return nothing, err
		}
		return did, d.setTokens(all)
	})
}
