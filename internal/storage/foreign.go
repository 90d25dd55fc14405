package storage

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/internal/session"
)

const (
	// foreignEvery is how often the sessions of other installations are looked for: a listing of the whole engine.
	foreignEvery = 10 * time.Minute
	// foreignRetry is how long after a failure.
	foreignRetry = 30 * time.Second
	// foreignAsked is how many of them are asked at once whether they run.
	foreignAsked = 8
)

// foreignSessions are those of other installations on the engine. A state directory that was lost makes this installation a
// new one, and its sessions those of another one that no Berth manages, which has to be reported.
type foreignSessions struct {
	engine Engine
	asker  session.EngineOwner
	own    string
	dir    Dir
	log    *slog.Logger

	known atomic.Pointer[string] // what is wrong, for people
}

// noteNew remembers that the name of this installation is a new one.
func (d Dir) noteNew() error { return d.put(newFile, time.Now().UTC().Format(time.RFC3339)) }

// ForeignSessions says what is wrong with sessions of other installations on the engine; "" when nothing is. An operator who
// removes the note has seen it.
func (s *Storage) ForeignSessions() string {
	f := s.foreign
	if f == nil {
		return ""
	}
	why := f.known.Load()
	if why == nil {
		return ""
	}
	if _, err := os.Lstat(f.dir.path(newFile)); err != nil {
		return ""
	}
	return *why
}

// watch names the other installations in the log, and looks after those that may have been this one, until there are none
// or ctx ends.
func (f *foreignSessions) watch(ctx context.Context) error {
	named := false
	for {
		wait := foreignEvery
		done, err := f.look(ctx, &named)
		if err != nil {
			f.log.DebugContext(ctx, "it is not known which other installations are on the engine; looking again", "error", err)
			wait = foreignRetry
		}
		if done {
			f.known.Store(nil)
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// look reports whether no sessions on the engine can be this installation's without its knowledge.
func (f *foreignSessions) look(ctx context.Context, named *bool) (done bool, err error) {
	there, err := f.engine.Installations(ctx)
	if err != nil {
		return false, err
	}
	others := countSessions(there, f.own)
	if len(others) > 0 && !*named {
		f.log.WarnContext(ctx, "the engine has sessions of other installations; if they were this one's before its state directory was lost, "+
			"see berth store adopt --instance", "installation", f.own, "others", describe(others))
	}
	*named = true
	made, err := f.dir.peek(newFile)
	if err != nil || made == "" {
		return err == nil, err
	}
	unowned := f.unowned(ctx, others)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if len(unowned) == 0 {
		return true, f.dir.put(newFile, "")
	}
	why := fmt.Sprintf("this installation, %s, is a new one, and the engine has sessions of others that no running Berth answers for: %s. If the state "+
		"directory was lost, stop Berth and run berth store adopt --instance with the name; if they are not this one's, run rm %s",
		f.own, describe(unowned), f.dir.path(newFile))
	if before := f.known.Swap(&why); before == nil || *before != why {
		f.log.WarnContext(ctx, "sessions on the engine may have been lost", "reason", why)
	}
	return false, nil
}

// unowned returns those of the installations that no running Berth manages, as far as one answers.
func (f *foreignSessions) unowned(ctx context.Context, others map[string]int) map[string]int {
	left := maps.Clone(others)
	var mu sync.Mutex
	var asking errgroup.Group
	asking.SetLimit(foreignAsked)
	for name := range others {
		asking.Go(func() error {
			answers, err := f.engine.Answers(ctx, name, f.asker)
			if err != nil {
				f.log.DebugContext(ctx, "it is not known whether another installation is managed by anybody", "installation", name, "error", err)
			}
			if answers {
				mu.Lock()
				defer mu.Unlock()
				delete(left, name)
			}
			return nil
		})
	}
	_ = asking.Wait() // none of them fails
	return left
}

// countSessions returns how many sessions each installation but one has on the engine.
func countSessions(there map[string]map[session.ID]bool, own string) map[string]int {
	counts := map[string]int{}
	for name, sessions := range there {
		if name != own && len(sessions) > 0 {
			counts[name] = len(sessions)
		}
	}
	return counts
}

// describedOthers is how many installations are named.
const describedOthers = 20

// describe names installations and their numbers of sessions.
func describe(counts map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if len(all) == describedOthers {
			all = append(all, fmt.Sprintf("and %d others", len(counts)-describedOthers))
			break
		}
		all = append(all, fmt.Sprintf("%s (%d sessions)", name, counts[name]))
	}
	return strings.Join(all, ", ")
}
