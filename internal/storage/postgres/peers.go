package postgres

import (
	"context"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype/zeronull"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// A process that exits without deregistering is detected after lease and renewEvery at the latest, which together are below
// the documented 15 s.
const (
	lease      = 10 * time.Second // a process that has not renewed its lease for this long is dead, by the database's clock
	renewEvery = 2 * time.Second
	// confirmed is how long the result that a process is dead is cached: less than the time from the start of a process to
	// its first operation.
	confirmed      = 100 * time.Millisecond
	confirmTimeout = 2 * time.Second
	// forgetAfter is when a process that did not deregister is removed.
	forgetAfter = 24 * time.Hour
)

// Instance is one process on the database.
type Instance struct {
	ID      string // of the node; a restarted process keeps it
	Process string // of this start of it; the owner in operations

	Address, Hostname, Version string
	StartedAt, SeenAt          time.Time
	Alive, Self                bool
}

// Peers are the processes on the database. While it is unavailable, their last known state is used.
type Peers struct {
	store *Store

	mu   sync.Mutex
	all  []Instance // as last read; nil: never
	last time.Time  // when that read started

	// ahead is the maximum by which the database's clock is ahead of this process's; it is read with all.
	ahead time.Duration
	// pending reports whether changes of this process have not reached the database; nil: there is no journal.
	pending func() bool

	started time.Time // this process's first renewal, by the database's clock; zero: none yet

	acknowledged int64     // renewals of this process that the database has confirmed; 0: none since the last rollback
	back         time.Time // when the database was last found rolled back; zero: never
	deregistered bool
}

var _ lifecycle.Peers = (*Peers)(nil)

// Peers returns the processes on the database, including this one.
func (s *Store) Peers() *Peers { return s.peers }

// Join registers this process, or renews its lease, and reads the other processes. Earlier starts of the same node are
// removed: a node runs once, so that their operations can be taken over.
func (p *Peers) Join(ctx context.Context) error {
	hostname, _ := os.Hostname() // for operators only
	begun := time.Now()
	p.mu.Lock()
	started, acknowledged := p.started, p.acknowledged
	p.mu.Unlock()
	if p.isPending() {
		return session.Errorf(session.CodeStoreUnavailable, "changes made without the database have not reached it yet")
	}
	var renewals int64
	var all []Instance
	var clock time.Time
	err := p.store.do(ctx, func(ctx context.Context) (err error) {
		// A process whose row was removed meanwhile keeps its place in the order of starts.
		if err := p.store.pool.QueryRow(ctx, `
			INSERT INTO berth_instances AS i (id, address, hostname, version, started_at, seen_at, directory, renewals)
			VALUES ($1, $2, $3, $4, coalesce($5, now()), now(), $6, 1)
			ON CONFLICT (id) DO UPDATE SET address = $2, hostname = $3, version = $4, seen_at = now(), directory = $6, renewals = i.renewals + 1
			RETURNING started_at, renewals, clock_timestamp()`,
			p.self(), p.store.opts.Address, hostname, p.store.opts.Version, zeronull.Timestamptz(started), p.store.opts.Directory).
			Scan(&started, &renewals, &clock); err != nil {
			return err
		}
		if _, err := p.store.pool.Exec(ctx, `DELETE FROM berth_instances WHERE seen_at < now() - $1::interval
			OR id <> $2 AND (id = $3::text OR left(id, length($3::text) + 1) = $3::text || '/' AND started_at < $4)`,
			forgetAfter, p.self(), nodeOf(p.self()), started); err != nil {
			return err
		}
		rows, _ := p.store.pool.Query(ctx, `SELECT id, address, hostname, version, started_at, seen_at, seen_at > now() - $1::interval
			FROM berth_instances ORDER BY started_at, id`, lease)
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Instance, error) {
			var i Instance
			err := row.Scan(&i.Process, &i.Address, &i.Hostname, &i.Version, &i.StartedAt, &i.SeenAt, &i.Alive)
			i.ID, i.Self = nodeOf(i.Process), i.Process == p.self()
			i.StartedAt, i.SeenAt = i.StartedAt.UTC(), i.SeenAt.UTC()
			return i, err
		})
		return err
	})
	if err != nil {
		return err
	}
	if acknowledged > 0 && renewals <= acknowledged { // on a pooled connection that was switched to another database
		p.noteRollback(ctx, acknowledged)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started, p.acknowledged = started, max(p.acknowledged, renewals)
	if begun.After(p.last) {
		p.all, p.last, p.ahead = all, begun, clock.Sub(begun)
	}
	return nil
}

// WhilePending suspends the renewal of this process's lease while the function reports that changes of it have not reached
// the database: when another process reads a renewed lease, it can also read the earlier changes. Call it before Run.
func (p *Peers) WhilePending(pending func() bool) { p.pending = pending }

func (p *Peers) isPending() bool { return p.pending != nil && p.pending() }

// ProcessName names one start of a node.
func ProcessName(node, start string) string { return node + "/" + start }

// nodeOf returns the node of a process. A name without a start, of older versions, is its own node.
func nodeOf(process string) string {
	node, _, _ := strings.Cut(process, "/")
	return node
}

// Run renews the lease of this process until ctx is done, and then deregisters it. changed is called when other processes have
// joined, left or died; it may be nil.
func (p *Peers) Run(ctx context.Context, changed func()) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	known, warned := p.aliveProcesses(), false
	for {
		if err := p.Join(ctx); err != nil && ctx.Err() == nil {
			p.store.opts.Logger.WarnContext(ctx, "lease not renewed, retrying", "error", err)
		}
		if now := p.aliveProcesses(); !slices.Equal(now, known) {
			known = now
			if changed != nil {
				changed()
			}
		}
		if p.replaced() != warned {
			if warned = !warned; warned {
				p.store.opts.Logger.ErrorContext(ctx, "another process runs under the name of this node; "+
					"give every instance a separate state directory, and never copy the file node", "node", nodeOf(p.self()))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p.deregister(ctx)
		}
	}
}

// aliveProcesses lists the processes with a lease.
func (p *Peers) aliveProcesses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var alive []string
	for _, i := range p.all {
		if i.Alive {
			alive = append(alive, i.Process)
		}
	}
	slices.Sort(alive)
	return alive
}

// replaced reports whether a later start of this node is alive.
func (p *Peers) replaced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.all, p.isSuccessor)
}

// isSuccessor reports whether i is a later start of this node that is alive. The caller holds mu.
func (p *Peers) isSuccessor(i Instance) bool {
	return i.Alive && !i.Self && i.ID == nodeOf(p.self()) && i.StartedAt.After(p.started)
}

func (p *Peers) deregister(ctx context.Context) error {
	if p.isPending() {
		return nil // the other processes must see that changes are missing
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	p.mu.Lock()
	p.deregistered = true
	p.mu.Unlock()
	_ = p.store.do(ctx, func(ctx context.Context) error { // if it fails, the lease expires
		_, err := p.store.pool.Exec(ctx, `DELETE FROM berth_instances WHERE id = $1`, p.self())
		return err
	})
	return nil
}

func (p *Peers) self() string { return p.store.opts.Process }

// List returns the processes as last read, in the order in which they started.
func (p *Peers) List() []Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// Alive reports whether a process may be running. A process without a lease is read again before it is reported as dead; while
// the database is unavailable, it counts as alive. An earlier start of this node is always dead.
func (p *Peers) Alive(process string) bool {
	if process == p.self() {
		return true
	}
	if nodeOf(process) == nodeOf(p.self()) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.all, func(i Instance) bool { return i.Process == process && p.isSuccessor(i) })
	}
	asked := time.Now()
	if alive, read := p.seen(process); alive || read.IsZero() || asked.Sub(read) < confirmed {
		return alive || read.IsZero()
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	if err := p.Join(ctx); err != nil {
		return true
	}
	alive, _ := p.seen(process)
	return alive
}

// seen returns the last known state, and when that read started.
func (p *Peers) seen(process string) (alive bool, read time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.all, func(i Instance) bool { return i.Process == process && i.Alive }), p.last
}

// Mine assigns sessions by rendezvous hashing: each belongs to the process with the highest weight for it, so that a process
// that joins or leaves moves its own share only.
func (p *Peers) Mine(id session.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := weight(p.self(), id)
	for _, i := range p.all {
		if !i.Alive || i.Self {
			continue
		}
		if other := weight(i.Process, id); other > own || other == own && i.Process > p.self() {
			return false
		}
	}
	return true
}

func weight(process string, id session.ID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(process + "\x00" + string(id)))
	x := h.Sum64() // FNV's last bytes change few bits: mix them
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Unreachable reports whether another process has not renewed its lease since then, as last read.
func (p *Peers) Unreachable(since time.Time) bool {
	if p.isPending() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	since = since.Add(p.ahead)
	return p.all == nil || slices.ContainsFunc(p.all, func(i Instance) bool { return !i.Self && i.SeenAt.Before(since) })
}

// UnreachableSince is the earliest time at which a process without a lease was last seen, including this one when its own
// lease has expired.
func (p *Peers) UnreachableSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		return time.Unix(0, 0)
	}
	var since time.Time
	if time.Since(p.last) > lease {
		since = p.last.Add(-renewEvery)
	}
	for _, i := range p.all {
		if !i.Alive && !i.Self && (since.IsZero() || i.SeenAt.Before(since)) {
			since = i.SeenAt
		}
	}
	return since
}
