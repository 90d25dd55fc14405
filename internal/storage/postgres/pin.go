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

// AnotherDatabase begins the message of every error of a store whose database is not the one that was pinned.
const AnotherDatabase = "another database answers at "

// Pin tells a database from every other one.
type Pin struct {
	System         string // its Identity; empty: it does not tell, or it is not known
	Setting, Value string // a shared text that it has, and has kept since it was first used
}

// Pin makes the store refuse every database but this one from the next call on: calls fail with CodeStoreUnavailable then,
// and nothing is written.
func (s *Store) Pin(p Pin) {
	if before := s.pinned.Swap(&p); before == nil || *before != p {
		s.pool.Reset() // what is open was not asked
	}
}

// WentBack is when the database was last found to have lost what it had acknowledged to this process: an older backup of
// it, or a standby that lagged, has taken its place. Zero: never in this process.
func (s *Store) WentBack() time.Time { return s.peers.wentBack() }

// recognize fails when a connection leads to another database than the pinned one.
func (s *Store) recognize(ctx context.Context, conn *pgx.Conn) error {
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
		"bring that one back, or restore a backup of it there and restart Berth", net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port)))).
		Because(errAnother).After(retryAfter)
}

var errAnother = errors.New("not the pinned database")

// checkRenewals compares the lease of this process with what the database has acknowledged of it. Only a lease that is
// behind says that the database went back: one that is ahead was renewed without an answer.
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
		p.goneBack(ctx, acknowledged)
	}
	return nil
}

// goneBack notes, once, that the database has lost a renewal that it had acknowledged.
func (p *Peers) goneBack(ctx context.Context, acknowledged int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left || p.acknowledged < acknowledged {
		return
	}
	p.acknowledged, p.back = 0, time.Now()
	p.store.opts.Logger.ErrorContext(ctx, "the database went back in time: it has lost what it had acknowledged. Sessions and tokens are "+
		"again what they were then; containers without a session are kept. Check the sessions, then restart Berth")
}

func (p *Peers) wentBack() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.back
}
