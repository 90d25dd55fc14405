package jsonfile

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"berth/internal/atomicfile"
	"berth/internal/usage"
)

// compact shortens the files that have grown, and removes the oldest ones above [usage.KeepDays]. It depends on no clock: a wrong
// one must not remove what is newer. The caller holds s.mu.
func (s *Usage) compact() error {
	days, err := usageDays(s.dir)
	if err != nil {
		return unusable("read the usage", s.dir, err)
	}
	if old := len(days) - usage.KeepDays; old > 0 {
		for _, day := range days[:old] {
			if _, open := s.files[day]; open {
				s.release(day)
			}
			if err := atomicfile.Remove(s.path(day)); err != nil {
				return s.unwritten(err)
			}
			delete(s.orphaned, day)
		}
		days = days[old:]
	}
	for _, day := range days {
		if f := s.files[day]; f != nil && f.size.Load() > max(compactAt, 4*f.compact) {
			if err := s.rewrite(day, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewrite replaces a day's file by the shortest one with the same content, and these records in place of those with their names.
// The caller holds s.mu.
func (s *Usage) rewrite(day time.Time, instead []usage.Record) error {
	var records []usage.Record
	open := map[string]usage.Hold{}
	if Exists(s.path(day)) {
		all, content, err := s.read(day)
		if err != nil {
			return err
		}
		records = all
		for id, h := range content.open {
			if _, live := s.live[id]; live {
				open[id] = h
			}
		}
	}
	byName := map[usageName]usage.Record{}
	for _, r := range slices.Concat(records, instead) {
		byName[usageName{r.Session, r.Owner, r.Provider, r.Model}] = r
	}
	text := encodeUsage(slices.Collect(maps.Values(byName)), open)
	if err := atomicfile.Write(s.path(day), text, ownerOnly, s.dir); err != nil {
		return s.unwritten(err)
	}
	if _, isOpen := s.files[day]; isOpen {
		s.release(day)
	}
	delete(s.orphaned, day) // they are records now
	f, err := s.file(day)
	if err == nil {
		f.compact, f.synced = f.size.Load(), f.size.Load()
	}
	return err
}

// Sum implements [usage.Store].
func (s *Usage) Sum(ctx context.Context, q usage.Query) (usage.Page, error) {
	sums := map[string]usage.Use{}
	err := s.each(ctx, q.InRange, func(r usage.Record) {
		if q.Matches(r) {
			name := q.By.NameOf(r)
			sums[name] = sums[name].Add(r.Use())
		}
	})
	if err != nil {
		return usage.Page{}, err
	}
	return usage.PageOf(sums, q), nil
}

// Records implements [usage.Store].
func (s *Usage) Records(ctx context.Context) (all []usage.Record, err error) {
	err = s.each(ctx, func(time.Time) bool { return true }, func(r usage.Record) { all = append(all, r) })
	return all, err
}

// each calls use with the records of days.
func (s *Usage) each(ctx context.Context, wanted func(day time.Time) bool, use func(usage.Record)) error {
	days, err := usageDays(s.dir)
	if err != nil {
		return unusable("read the usage", s.dir, err)
	}
	for _, day := range days {
		if !wanted(day) {
			continue
		}
		if err := ended(ctx); err != nil {
			return err
		}
		records, err := s.recordsOf(day)
		if err != nil {
			return err
		}
		for _, r := range records {
			use(r)
		}
	}
	return nil
}

// recordsOf reads a day. The file and the place up to which its open holds are orphaned must be of one moment; they are read
// without s.mu, because calls must not wait for that.
func (s *Usage) recordsOf(day time.Time) ([]usage.Record, error) {
	s.mu.Lock()
	file, err := os.ReadFile(s.path(day))
	orphaned := s.orphaned[day]
	s.mu.Unlock()
	if os.IsNotExist(err) {
		return nil, nil // it was removed meanwhile
	}
	if err != nil {
		return nil, unusable("read the usage", s.dir, err)
	}
	content, err := parseUsage(file)
	if err != nil {
		return nil, damagedUsage(s.path(day), err)
	}
	return content.records(day, orphaned), nil
}

// Import implements [usage.Store].
func (s *Usage) Import(ctx context.Context, records []usage.Record) (changed int, err error) {
	byDay := map[time.Time][]usage.Record{}
	for _, r := range records {
		day := usage.TokensPerDay.Start(r.Day)
		byDay[day] = append(byDay[day], r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, day := range slices.SortedFunc(maps.Keys(byDay), time.Time.Compare) {
		if err := ended(ctx); err != nil {
			return changed, err
		}
		known := map[usageName]usage.Use{}
		if Exists(s.path(day)) {
			all, _, err := s.read(day)
			if err != nil {
				return changed, err
			}
			for _, r := range all {
				known[usageName{r.Session, r.Owner, r.Provider, r.Model}] = r.Use()
			}
		}
		var greater []usage.Record
		for _, r := range byDay[day] {
			now := known[usageName{r.Session, r.Owner, r.Provider, r.Model}]
			if u := now.Greater(r.Use()); u != now {
				greater = append(greater, usage.Record{
					Day: day, Session: r.Session, Owner: r.Owner, Provider: r.Provider, Model: r.Model,
					Calls: u.Calls, Tokens: u.Tokens, Estimated: u.Estimated, Micros: u.Micros,
				})
			}
		}
		if len(greater) == 0 {
			continue
		}
		if err := s.rewrite(day, greater); err != nil {
			return changed, err
		}
		delete(s.months, usage.MoneyPerMonth.Start(day)) // it is read again
		changed += len(greater)
	}
	return changed, nil
}
