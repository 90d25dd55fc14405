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
	// foreignEvery is the interval of the check for sessions of other installations, which lists the whole engine.
	foreignEvery = 10 * time.Minute
	// foreignRetry is the interval after a failure.
	foreignRetry = 30 * time.Second
	// foreignQueries is the number of installations that are queried concurrently.
	foreignQueries = 8
)

// foreignSessions watches sessions of other installations on the engine. After the loss of the state directory this is a new
// installation, and its earlier sessions belong to one that no Berth manages, which must be reported.
type foreignSessions struct {
	engine Engine
	asker  session.EngineOwner
	own    string
	dir    Dir
	log    *slog.Logger

	problem atomic.Pointer[string] // for operators; nil: none
}

// markNew records that the name of this installation is a new one.
func (d Dir) markNew() error { return d.put(newFile, time.Now().UTC().Format(time.RFC3339)) }

// ForeignSessions describes the problem with sessions of other installations on the engine; "" if there is none. The operator
// removes the marker file to acknowledge it.
func (s *Storage) ForeignSessions() string {
	f := s.foreign
	if f == nil {
		return ""
	}
	why := f.problem.Load()
	if why == nil {
		return ""
	}
	if _, err := os.Lstat(f.dir.path(newFile)); err != nil {
		return ""
	}
	return *why
}

// watch logs the other installations, and checks those that may have been this one, until there are none or ctx is done.
func (f *foreignSessions) watch(ctx context.Context) error {
	named := false
	for {
		wait := foreignEvery
		done, err := f.check(ctx, &named)
		if err != nil {
			f.log.DebugContext(ctx, "listing the other installations on the engine failed, retrying", "error", err)
			wait = foreignRetry
		}
		if done {
			f.problem.Store(nil)
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// check reports whether it is excluded that sessions on the engine are lost ones of this installation.
func (f *foreignSessions) check(ctx context.Context, named *bool) (done bool, err error) {
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
	why := fmt.Sprintf("this installation, %s, is a new one, and the engine has sessions of other installations that no running Berth manages: %s. If the state "+
		"directory was lost, stop Berth and run berth store adopt --instance with the name; if they are not this one's, run rm %s",
		f.own, describe(unowned), f.dir.path(newFile))
	if before := f.problem.Swap(&why); before == nil || *before != why {
		f.log.WarnContext(ctx, "sessions on the engine may have been lost", "reason", why)
	}
	return false, nil
}

// unowned returns the installations for which no running Berth has answered.
func (f *foreignSessions) unowned(ctx context.Context, others map[string]int) map[string]int {
	left := maps.Clone(others)
	var mu sync.Mutex
	var queries errgroup.Group
	queries.SetLimit(foreignQueries)
	for name := range others {
		queries.Go(func() error {
			answers, err := f.engine.Answers(ctx, name, f.asker)
			if err != nil {
				f.log.DebugContext(ctx, "checking for the Berth of another installation failed", "installation", name, "error", err)
			}
			if answers {
				mu.Lock()
				defer mu.Unlock()
				delete(left, name)
			}
			return nil
		})
	}
	_ = queries.Wait() // none of them fails
	return left
}

// countSessions returns the number of sessions on the engine of each installation except own.
func countSessions(there map[string]map[session.ID]bool, own string) map[string]int {
	counts := map[string]int{}
	for name, sessions := range there {
		if name != own && len(sessions) > 0 {
			counts[name] = len(sessions)
		}
	}
	return counts
}

// maxDescribed is the maximum number of installations in a message.
const maxDescribed = 20

// describe names installations and their numbers of sessions.
func describe(counts map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if len(all) == maxDescribed {
			all = append(all, fmt.Sprintf("and %d others", len(counts)-maxDescribed))
			break
		}
		all = append(all, fmt.Sprintf("%s (%d sessions)", name, counts[name]))
	}
	return strings.Join(all, ", ")
}
