package jsonfile

import (
	"context"
	"time"

	"berth/internal/usage"
)

// Reserve implements [usage.Store].
func (s *Usage) Reserve(ctx context.Context, h usage.Hold, limits []usage.Limit) (*usage.Refusal, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	charges := h.Reserved(limits)
	for _, c := range charges {
		counters, err := s.counters(c.Key)
		if err != nil {
			return nil, err
		}
		if now := counters[c.Key]; c.Limit != nil && !c.Limit.Admits(now) {
			return &usage.Refusal{Limit: *c.Limit, Now: now}, nil
		}
	}
	f, err := s.file(usage.TokensPerDay.Start(h.At))
	if err != nil {
		return nil, err
	}
	if err := f.append(holdLine(h).encode()); err != nil {
		return nil, s.unwritten(err)
	}
	s.live[h.ID] = h
	return nil, s.charge(charges)
}

// charge changes counters.
func (s *Usage) charge(charges []usage.Charge) error {
	for _, c := range charges {
		counters, err := s.counters(c.Key)
		if err != nil {
			return err
		}
		count(counters, []usage.Charge{c})
	}
	return nil
}

// Settle implements [usage.Store].
func (s *Usage) Settle(ctx context.Context, h usage.Hold, used usage.Use) error {
	f, size, err := s.settle(ctx, h, used)
	if err != nil || f == nil {
		return err
	}
	if err := f.sync(size, s.opts.sync); err != nil {
		return s.unwritten(err)
	}
	return nil
}

// settle writes the end of a hold, and returns up to where its file must be written to the disk. A hold that has ended already is
// written to the disk again: that may have failed the first time.
func (s *Usage) settle(ctx context.Context, h usage.Hold, used usage.Use) (*usageFile, int64, error) {
	if err := ended(ctx); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	day := usage.TokensPerDay.Start(h.At)
	if _, live := s.live[h.ID]; !live {
		f := s.files[day]
		if f == nil {
			return nil, 0, nil
		}
		return f, f.size.Load(), nil
	}
	f, err := s.file(day)
	if err != nil {
		return nil, 0, err
	}
	if _, err := s.month(h.At); err != nil { // before it is written, or it would be counted twice
		return nil, 0, err
	}
	if err := f.append(endLine(h.ID, used).encode()); err != nil {
		return nil, 0, s.unwritten(err)
	}
	delete(s.live, h.ID)
	return f, f.size.Load(), s.charge(h.Settled(used))
}

// Maintain implements [usage.Store]. The holds of ended processes are estimates since the start.
func (s *Usage) Maintain(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Now()
	for key := range s.minutes {
		if now.Sub(key.Start).Abs() > time.Hour {
			delete(s.minutes, key)
		}
	}
	for start := range s.months {
		if now.Sub(start).Abs() > 70*24*time.Hour {
			delete(s.months, start) // it is read again when it is needed
		}
	}
	return s.compact()
}
