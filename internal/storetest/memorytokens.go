package storetest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

// MemoryTokens is a store of platform tokens in memory, for tests of what uses one. The zero value is empty.
type MemoryTokens struct {
	mu   sync.Mutex
	all  map[access.TokenID]access.PlatformToken
	fail error
}

var _ access.TokenStore = (*MemoryTokens)(nil)

// Fail makes every call fail with err from now on; nil: no more.
func (m *MemoryTokens) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *MemoryTokens) do(ctx context.Context, call func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return session.Errorf(session.CodeCanceled, "the caller left").Because(ctx.Err())
	}
	if m.fail != nil {
		return m.fail
	}
	if m.all == nil {
		m.all = map[access.TokenID]access.PlatformToken{}
	}
	return call()
}

// PlatformTokens implements [access.TokenStore].
func (m *MemoryTokens) PlatformTokens(ctx context.Context) (all []access.PlatformToken, err error) {
	err = m.do(ctx, func() error {
		all = slices.SortedFunc(maps.Values(m.all), func(a, b access.PlatformToken) int {
			if order := a.CreatedAt.Compare(b.CreatedAt); order != 0 {
				return order
			}
			return strings.Compare(string(a.ID), string(b.ID))
		})
		return nil
	})
	return all, err
}

// CreatePlatformToken implements [access.TokenStore].
func (m *MemoryTokens) CreatePlatformToken(ctx context.Context, t access.PlatformToken, most int) error {
	return m.do(ctx, func() error {
		for _, other := range m.all {
			if other.Name == t.Name || other.ID == t.ID {
				return access.NameTaken(t.Name)
			}
		}
		if len(m.all) >= most {
			return access.TooManyTokens(most)
		}
		m.all[t.ID] = t
		return nil
	})
}

// DeletePlatformToken implements [access.TokenStore].
func (m *MemoryTokens) DeletePlatformToken(ctx context.Context, id access.TokenID) error {
	return m.do(ctx, func() error {
		if _, ok := m.all[id]; !ok {
			return access.NoSuchToken()
		}
		delete(m.all, id)
		return nil
	})
}

// TouchPlatformTokens implements [access.TokenStore].
func (m *MemoryTokens) TouchPlatformTokens(ctx context.Context, at map[access.TokenID]time.Time) error {
	return m.do(ctx, func() error {
		for id, used := range at {
			if t, ok := m.all[id]; ok && used.After(t.LastUsedAt) {
				t.LastUsedAt = used
				m.all[id] = t
			}
		}
		return nil
	})
}
