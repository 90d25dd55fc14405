package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
)

const (
	// admitWait is how long a starting process watches for renewals of its node in another directory: a little more than two.
	admitWait  = 2*renewEvery + renewEvery/4
	admitEvery = renewEvery / 4
)

// Admit returns a CodeConflict error when a process of this node is running on another state directory, which is a copy then.
// To distinguish it from one that has just exited there, as after a restart of the machine, takes a few seconds. An earlier
// process on the same directory is dead, because the directory is locked.
func (p *Peers) Admit(ctx context.Context) error {
	if p.store.opts.Directory == "" {
		return nil
	}
	first, err := p.otherDirectories(ctx)
	for end := time.Now().Add(admitWait); err == nil && len(first) > 0 && time.Now().Before(end); {
		select {
		case <-time.After(admitEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
		now, again := p.otherDirectories(ctx)
		err = again
		for process, renewals := range now {
			if before, known := first[process]; !known || renewals != before {
				return session.Errorf(session.CodeConflict, "another Berth is running under the name of this node, %s: one of the two state directories is a copy. "+
					"Remove the file node from the copy to make it a separate instance", nodeOf(p.self()))
			}
		}
	}
	return err
}

// otherDirectories lists the unexpired leases of this node in other directories.
func (p *Peers) otherDirectories(ctx context.Context) (map[string]int64, error) {
	renewals := map[string]int64{}
	err := p.store.do(ctx, func(ctx context.Context) error {
		rows, _ := p.store.pool.Query(ctx, `SELECT id, renewals FROM berth_instances
			WHERE split_part(id, '/', 1) = $1 AND id <> $2 AND directory NOT IN ('', $3) AND seen_at > now() - $4::interval`,
			nodeOf(p.self()), p.self(), p.store.opts.Directory, lease)
		var id string
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error {
			renewals[id] = n
			return nil
		})
		return err
	})
	return renewals, err
}
