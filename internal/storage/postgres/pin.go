package postgres

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
)

// AnotherDatabase is the beginning of the error message when the database is not the pinned one.
const AnotherDatabase = "another database answers at "

// Pin identifies a database.
type Pin struct {
	System         string // its Identity; empty: not known
	Setting, Value string // a shared setting that never changes
}

// Pin makes calls fail with CodeStoreUnavailable on every other database, from the next call on. Nothing is written to it.
func (s *Store) Pin(p Pin) {
	if before := s.pinned.Swap(&p); before == nil || *before != p {
		s.pool.Reset() // open connections were not checked
	}
}

// RolledBack is when the database was last found to have lost acknowledged changes of this process: it was replaced by an older
// backup or a standby that lagged. Zero: never in this process.
func (s *Store) RolledBack() time.Time { return s.peers.rolledBack() }

// checkPinned fails when a connection is to another database than the pinned one.
func (s *Store) checkPinned(ctx context.Context, conn *pgx.Conn) error {
	pin := s.pinned.Load()
	if pin == nil {
		return nil
	}
	if pin.System != "" {
		system, err := identityOf(ctx, conn)
		switch {
		case err == nil && system != pin.System:
			return s.another()
		case err != nil && stateOf(err) != insufficientPrivilege:
			return err
		}
	}
	var value string
	err := conn.QueryRow(ctx, `SELECT value FROM berth_settings WHERE name = $1`, pin.Setting).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) || stateOf(err) == undefinedTable || err == nil && value != pin.Value {
		return s.another()
	}
	return err
}

func (s *Store) another() error {
	at := s.pool.Config().ConnConfig
	return session.Errorf(session.CodeStoreUnavailable, AnotherDatabase+"%s than the one that has the sessions, and nothing is written to it: "+
		"restore that one, or a backup of it at this address, and restart Berth", net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port)))).
		Because(errAnother).After(retryAfter)
}

var errAnother = errors.New("not the pinned database")

// checkRenewals compares the renewals in the database with the acknowledged ones. Only a smaller number means that the
// database was rolled back: a larger one is of a renewal without a response.
func (p *Peers) checkRenewals(ctx context.Context, conn *pgx.Conn) error {
	p.mu.Lock()
	acknowledged := p.acknowledged
	p.mu.Unlock()
	if acknowledged == 0 {
		return nil
	}
	var renewals int64
	err := conn.QueryRow(ctx, `SELECT renewals FROM berth_instances WHERE id = $1`, p.self()).Scan(&renewals)
	if state := stateOf(err); err != nil && !errors.Is(err, pgx.ErrNoRows) && state != undefinedTable && state != undefinedColumn {
		return err
	}
	if renewals < acknowledged {
		p.noteRollback(ctx, acknowledged)
	}
	return nil
}

// noteRollback records, once, that the database has lost an acknowledged renewal.
func (p *Peers) noteRollback(ctx context.Context, acknowledged int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deregistered || p.acknowledged < acknowledged {
		return
	}
	p.acknowledged, p.back = 0, time.Now()
	p.store.opts.Logger.ErrorContext(ctx, "the database was rolled back to an earlier state and has lost acknowledged changes of sessions and tokens; "+
		"containers without a session are kept. Check the sessions, then restart Berth")
}

func (p *Peers) rolledBack() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.back
}
