package failover_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/session"
	"berth/internal/storage/failover"
	"berth/internal/storage/jsonfile"
	"berth/internal/waittest"
)

// database is a primary that can be switched off, and of which single calls can fail before or after their effect.
type database struct {
	*jsonfile.Store

	mu     sync.Mutex
	off    bool
	fail   func(call string) (before, after bool)
	merged map[string]bool
}

var errUnavailable = session.Errorf(session.CodeStoreUnavailable, "the database cannot be reached")

func newDatabase(t *testing.T) *database {
	t.Helper()
	return &database{Store: openFile(t, filepath.Join(t.TempDir(), "database.json")), merged: map[string]bool{}}
}

func openFile(t *testing.T, path string) *jsonfile.Store {
	t.Helper()
	s, err := jsonfile.Open(path, jsonfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (d *database) set(off bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off, d.fail = off, nil
}

func (d *database) failing(f func(call string) (before, after bool)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = f
}

func (d *database) do(call string, work func() error) error {
	d.mu.Lock()
	off, fail := d.off, d.fail
	d.mu.Unlock()
	before, after := off, false
	if fail != nil {
		before, after = fail(call)
	}
	if before {
		return errUnavailable
	}
	if err := work(); err != nil || !after {
		return err
	}
	return errUnavailable
}

func (d *database) Create(ctx context.Context, v session.Session, max session.Quota) (made session.Session, err error) {
	err = d.do("create", func() (err error) { made, err = d.Store.Create(ctx, v, max); return err })
	return made, err
}

func (d *database) Get(ctx context.Context, id session.ID) (found session.Session, err error) {
	err = d.do("get", func() (err error) { found, err = d.Store.Get(ctx, id); return err })
	return found, err
}

func (d *database) Update(ctx context.Context, v session.Session, max int) (updated session.Session, err error) {
	err = d.do("update", func() (err error) { updated, err = d.Store.Update(ctx, v, max); return err })
	return updated, err
}

func (d *database) Delete(ctx context.Context, id session.ID, revision int64) error {
	return d.do("delete", func() error { return d.Store.Delete(ctx, id, revision) })
}

func (d *database) List(ctx context.Context, q session.Query) (page session.Page, err error) {
	err = d.do("list", func() (err error) { page, err = d.Store.List(ctx, q); return err })
	return page, err
}

func (d *database) Touch(ctx context.Context, at map[session.ID]time.Time) error {
	return d.do("touch", func() error { return d.Store.Touch(ctx, at) })
}

func (d *database) Ping(ctx context.Context) error {
	return d.do("ping", func() error { return d.Store.Ping(ctx) })
}

func (d *database) Watch(ctx context.Context, missed func(), _ func(session.ID)) error {
	missed()
	<-ctx.Done()
	return ctx.Err()
}

// Merge is serialized, as the transactions of a database.
func (d *database) Merge(ctx context.Context, key string, id session.ID, decide func(*session.Session) *session.Session) (after *session.Session, err error) {
	err = d.do("merge", func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		var now *session.Session
		if found, err := d.Store.Get(ctx, id); err == nil {
			now = &found
		} else if session.CodeOf(err) != session.CodeNotFound {
			return err
		}
		if after = now; d.merged[key] {
			return nil
		}
		after = decide(now)
		page, err := d.Store.List(ctx, session.Query{})
		if err != nil {
			return err
		}
		var all []session.Session
		for _, v := range page.Sessions {
			if v.ID != id {
				all = append(all, v)
			}
		}
		if after != nil {
			all = append(all, *after)
		}
		if err := d.Store.Replace(ctx, all); err != nil {
			return err
		}
		d.merged[key] = true
		return nil
	})
	return after, err
}

// disk is a local store of which full writes can fail or be blocked.
type disk struct {
	*jsonfile.Store
	fails   *atomic.Pointer[func() error]
	gate    chan struct{}
	started *atomic.Int64
}

func (d *disk) Replace(ctx context.Context, all []session.Session) error {
	return d.write(ctx, d.Store.Replace, all)
}

func (d *disk) Retire(ctx context.Context, all []session.Session) error {
	return d.write(ctx, d.Store.Retire, all)
}

func (d *disk) write(ctx context.Context, put func(context.Context, []session.Session) error, all []session.Session) error {
	if d.fails != nil {
		if f := d.fails.Load(); f != nil {
			if err := (*f)(); err != nil {
				return err
			}
		}
	}
	if d.gate != nil {
		d.started.Add(1)
		select {
		case <-d.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return put(ctx, all)
}

// fixture is the failover store of one process, and its files, which persist across restarts.
type fixture struct {
	t   *testing.T
	dir string
	db  *database

	// Faults of the disk; nil: none.
	dropFails    atomic.Pointer[func() error]
	journalFails atomic.Pointer[func() error] // of Replace and Retire
	copyGate     chan struct{}                // a write of the copy waits for it, or for the end of its context
	copyWrites   atomic.Int64                 // that have started

	store *failover.Store
	base  *jsonfile.Store
	open  []*jsonfile.Store // pending stores
	stop  context.CancelFunc
	done  chan struct{}
}

// newFixture makes a database with a failover store, which pings it often.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	h := &fixture{t: t, dir: t.TempDir(), db: newDatabase(t)}
	h.start()
	t.Cleanup(h.crash)
	return h
}

func (h *fixture) pendingFile() string { return filepath.Join(h.dir, "pending.json") }

func (h *fixture) start() {
	h.t.Helper()
	h.base = openFile(h.t, filepath.Join(h.dir, "copy.json"))
	store, err := failover.Open(h.t.Context(), h.db, failover.Options{
		Copy: &disk{Store: h.base, gate: h.copyGate, started: &h.copyWrites},
		Pending: func(initial []session.Session) (failover.Local, error) {
			if err := jsonfile.CreateFile(h.pendingFile(), initial); err != nil {
				return nil, err
			}
			s, err := jsonfile.Open(h.pendingFile(), jsonfile.Options{})
			h.open = append(h.open, s)
			return &disk{Store: s, fails: &h.journalFails}, err
		},
		HasPending: func() bool { return jsonfile.Exists(h.pendingFile()) },
		DropPending: func() error {
			if f := h.dropFails.Load(); f != nil {
				if err := (*f)(); err != nil {
					return err
				}
			}
			return jsonfile.Remove(h.pendingFile())
		},
		RetryEvery: 20 * time.Millisecond,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.store = store
	var ctx context.Context
	ctx, h.stop = context.WithCancel(h.t.Context())
	h.done = make(chan struct{})
	go func() { defer close(h.done); _ = store.Run(ctx) }()
}

// crash closes the files without closing the failover store, as the kernel does for a killed process.
func (h *fixture) crash() {
	h.stop()
	<-h.done
	for _, s := range append(h.open, h.base) {
		_ = s.Close()
	}
	h.open = nil
}

func (h *fixture) eventually(what string, holds func() bool) {
	h.t.Helper()
	waittest.Until(h.t, what, func() error {
		if !holds() {
			return fmt.Errorf("the status is %+v", h.store.Status())
		}
		return nil
	})
}

func (h *fixture) recover() {
	h.t.Helper()
	h.db.set(false)
	h.eventually("the database is active again", func() bool { return !h.store.Status().Degraded })
}

func (h *fixture) create(id session.ID) session.Session {
	h.t.Helper()
	s, err := h.store.Create(h.t.Context(), stopped(id), session.Quota{})
	if err != nil {
		h.t.Fatalf("create %s: %v", id, err)
	}
	return s
}

func (h *fixture) update(s session.Session) session.Session {
	h.t.Helper()
	s, err := h.store.Update(h.t.Context(), s, session.Unlimited)
	if err != nil {
		h.t.Fatalf("update %s: %v", s.ID, err)
	}
	return s
}

// inDatabase returns a session of the database itself.
func (h *fixture) inDatabase(id session.ID) (session.Session, bool) {
	h.t.Helper()
	s, err := h.db.Store.Get(h.t.Context(), id)
	if err != nil && session.CodeOf(err) != session.CodeNotFound {
		h.t.Fatal(err)
	}
	return s, err == nil
}

// changeByOther changes a session in the database, as another process does.
func (h *fixture) changeByOther(id session.ID, change func(*session.Session)) {
	h.t.Helper()
	s, err := h.db.Store.Get(h.t.Context(), id)
	if err == nil {
		change(&s)
		_, err = h.db.Store.Update(h.t.Context(), s, session.Unlimited)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func stopped(id session.ID) session.Session {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	return session.Session{ID: id, Status: session.Stopped, CreatedAt: at, LastAccessed: at, Owner: "ann", Token: session.Token{Digest: "first", RotatedAt: at}}
}
