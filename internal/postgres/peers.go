package postgres

import (
	"context"
	"hash/fnv"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
)

const (
	lease      = 10 * time.Second // a process that was not heard of for so long is dead, by the database's clock
	renewEvery = 3 * time.Second
	// confirmed is how long an answer on the dead holds: less than a process takes from its start to its first operation.
	confirmed      = 100 * time.Millisecond
	confirmTimeout = 2 * time.Second
	// forgetAfter is when the name of a process that said no good-bye is forgotten.
	forgetAfter = 24 * time.Hour
)

// Instance is one process on the database.
type Instance struct {
	ID, Address, Hostname, Version string
	StartedAt, SeenAt              time.Time
	Alive, Self                    bool
}

// Peers are the processes on the database. While it cannot be asked, they are taken to be what they were.
type Peers struct {
	store *Store
	begun time.Time // when this process began

	mu   sync.Mutex
	all  []Instance // as last read; nil: never
	last time.Time  // when that was begun
}

var _ session.Peers = (*Peers)(nil)

// Peers returns the processes on the database, this one among them.
func (s *Store) Peers() *Peers { return s.peers }

// Join makes this process known, or renews its lease, and reads who else there is.
func (p *Peers) Join(ctx context.Context) error {
	hostname, _ := os.Hostname() // for operators only
	begun := time.Now()
	var all []Instance
	err := p.store.do(ctx, func(ctx context.Context) error {
		if _, err := p.store.pool.Exec(ctx, `
			INSERT INTO berth_instances (id, address, hostname, version, started_at, seen_at) VALUES ($1, $2, $3, $4, $5, now())
			ON CONFLICT (id) DO UPDATE SET address = $2, hostname = $3, version = $4, started_at = $5, seen_at = now()`,
			p.self(), p.store.opts.Address, hostname, p.store.opts.Version, p.begun.UTC()); err != nil {
			return err
		}
		if _, err := p.store.pool.Exec(ctx, `DELETE FROM berth_instances WHERE seen_at < now() - $1::interval`, forgetAfter); err != nil {
			return err
		}
		rows, err := p.store.pool.Query(ctx, `SELECT id, address, hostname, version, started_at, seen_at, seen_at > now() - $1::interval
			FROM berth_instances ORDER BY started_at, id`, lease)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Instance, error) {
			var i Instance
			err := row.Scan(&i.ID, &i.Address, &i.Hostname, &i.Version, &i.StartedAt, &i.SeenAt, &i.Alive)
			i.StartedAt, i.SeenAt, i.Self = i.StartedAt.UTC(), i.SeenAt.UTC(), i.ID == p.self()
			return i, err
		})
		return err
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if begun.After(p.last) {
		p.all, p.last = all, begun
	}
	return nil
}

// Run renews the lease of this process until ctx ends, and then says good-bye.
func (p *Peers) Run(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		if err := p.Join(ctx); err != nil && ctx.Err() == nil {
			p.store.opts.Logger.WarnContext(ctx, "the other instances do not hear of this one; trying again", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p.leave(ctx)
		}
	}
}

func (p *Peers) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
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

// Alive reports whether a process may be at work. Whoever seems dead may have come while nobody looked, and is looked for
// again before it is said; while the database is away, he is taken to be alive.
func (p *Peers) Alive(process string) bool {
	if process == p.self() {
		return true
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
	return slices.ContainsFunc(p.all, func(i Instance) bool { return i.ID == process && i.Alive }), p.last
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
		if other := draw(i.ID, id); other > own || other == own && i.ID > p.self() {
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

// MissingSince is when the first of the processes without a lease was seen last; this one too, when its own lease is
// over.
func (p *Peers) MissingSince() time.Time {
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
