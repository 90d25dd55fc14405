package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
)

const (
	// admitWait is how long a newcomer watches a start of its node in another directory: two renewals, and a little more.
	admitWait  = 2*renewEvery + renewEvery/4
	admitEvery = renewEvery / 4
)

// Admit returns a CodeConflict error when a start of this node is at work in another state directory, which only a copy of
// one brings about. The lease of one that has just died there, as with a machine that was restarted, takes a few seconds to
// tell from that; a start in the same directory is dead, which the directory's lock has proved.
func (p *Peers) Admit(ctx context.Context) error {
	if p.store.opts.Directory == "" {
		return nil
	}
	first, err := p.elsewhere(ctx)
	for end := time.Now().Add(admitWait); err == nil && len(first) > 0 && time.Now().Before(end); {
		select {
		case <-time.After(admitEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
		now, again := p.elsewhere(ctx)
		err = again
		for process, renewals := range now {
			if before, known := first[process]; !known || renewals != before {
				return session.Errorf(session.CodeConflict, "another Berth is at work under the name of this node, %s: this state directory is a copy "+
					"of that one's, or the other way round. Remove the file node from the copy to make it an instance of its own", nodeOf(p.self()))
			}
		}
	}
	return err
}

// elsewhere lists the leases of this node's starts in other directories that are not over.
func (p *Peers) elsewhere(ctx context.Context) (map[string]int64, error) {
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
