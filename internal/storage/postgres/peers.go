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

// A process that ends without a word is noticed after lease and renewEvery at the latest, which together stay below the
// 15 s that the documentation promises.
const (
	lease      = 10 * time.Second // a process that has not renewed for so long is dead, by the database's clock
	renewEvery = 2 * time.Second
	// confirmed is how long an answer on the dead holds: less than a process takes from its start to its first operation.
	confirmed      = 100 * time.Millisecond
	confirmTimeout = 2 * time.Second
	// forgetAfter is when the name of a process that said no good-bye is forgotten.
	forgetAfter = 24 * time.Hour
)

// Instance is one process on the database.
type Instance struct {
	ID      string // of the node; a restarted process keeps it
	Process string // of this start of it, as operations name their owner

	Address, Hostname, Version string
	StartedAt, SeenAt          time.Time
	Alive, Self                bool
}

// Peers are the processes on the database. While it cannot be asked, they are taken to be what they were.
type Peers struct {
	store *Store

	mu   sync.Mutex
	all  []Instance // as last read; nil: never
	last time.Time  // when that was begun

	// ahead is by how much the database's clock is ahead of this process's, at most; it is read with all.
	ahead time.Duration
	// pending reports whether changes of this process have not reached the database; nil: none are kept from it.
	pending func() bool

	started time.Time // this process's first renewal, by the database's clock; zero: none yet

	acknowledged int64     // renewals of this process that the database has confirmed; 0: none since it last went back
	back         time.Time // when the database last went back; zero: never
	left         bool      // good-bye was said
}

var _ lifecycle.Peers = (*Peers)(nil)

// Peers returns the processes on the database, this one among them.
func (s *Store) Peers() *Peers { return s.peers }

// Join makes this process known, or renews its lease, and reads who else there is. Earlier starts of the same node are
// forgotten: a node runs once, so that whatever they had begun is free to be taken up.
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
	if acknowledged > 0 && renewals <= acknowledged { // on a connection that has outlived the database it was made to
		p.goneBack(ctx, acknowledged)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started, p.acknowledged = started, max(p.acknowledged, renewals)
	if begun.After(p.last) {
		p.all, p.last, p.ahead = all, begun, clock.Sub(begun)
	}
	return nil
}

// WhilePending has the lease of this process not renewed while the function reports that changes of it have not reached the
// database: once another process reads a new lease, it can read also what this one did before. Call it before Run.
func (p *Peers) WhilePending(pending func() bool) { p.pending = pending }

func (p *Peers) isPending() bool { return p.pending != nil && p.pending() }

// ProcessName names one start of a node.
func ProcessName(node, start string) string { return node + "/" + start }

// nodeOf returns the node that a process is a start of. Names from before starts were told apart are their own node.
func nodeOf(process string) string {
	node, _, _ := strings.Cut(process, "/")
	return node
}

// Run renews the lease of this process until ctx ends, and then says good-bye. changed is called when other processes have
// come, gone or died; it may be nil.
func (p *Peers) Run(ctx context.Context, changed func()) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	known, warned := p.living(), false
	for {
		if err := p.Join(ctx); err != nil && ctx.Err() == nil {
			p.store.opts.Logger.WarnContext(ctx, "lease not renewed, trying again", "error", err)
		}
		if now := p.living(); !slices.Equal(now, known) {
			known = now
			if changed != nil {
				changed()
			}
		}
		if p.replaced() != warned {
			if warned = !warned; warned {
				p.store.opts.Logger.ErrorContext(ctx, "another process runs under the name of this node; "+
					"give every instance a state directory of its own, and never copy the file node", "node", nodeOf(p.self()))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p.deregister(ctx)
		}
	}
}

// living lists the processes that are alive.
func (p *Peers) living() []string {
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
		return nil // the others are to know that something is missing
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	p.mu.Lock()
	p.left = true
	p.mu.Unlock()
	_ = p.store.do(ctx, func(ctx context.Context) error { // without it, the lease ends
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

// Alive reports whether a process may be at work. A process that seems dead is looked up again before it is called so;
// while the database is away, it is taken to be alive. An earlier start of this node is dead, whatever the database says.
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

// seen says what was read last, and when that was begun.
func (p *Peers) seen(process string) (alive bool, read time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.all, func(i Instance) bool { return i.Process == process && i.Alive }), p.last
}

// Mine divides the sessions by rendezvous: each goes to the process that draws the highest number for it, so that a
// process that comes or goes moves its own share only.
func (p *Peers) Mine(id session.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := draw(p.self(), id)
	for _, i := range p.all {
		if !i.Alive || i.Self {
			continue
		}
		if other := draw(i.Process, id); other > own || other == own && i.Process > p.self() {
			return false
		}
	}
	return true
}

func draw(process string, id session.ID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(process + "\x00" + string(id)))
	x := h.Sum64() // FNV's last bytes move few bits: stir
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Unreachable reports whether another process has not renewed its lease since then, as far as was read.
func (p *Peers) Unreachable(since time.Time) bool {
	if p.isPending() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	since = since.Add(p.ahead)
	return p.all == nil || slices.ContainsFunc(p.all, func(i Instance) bool { return !i.Self && i.SeenAt.Before(since) })
}

// UnreachableSince is when the first of the processes without a lease was seen last; this one too, when its own lease is
// over.
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
