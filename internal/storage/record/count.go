package record

import (
	"context"
	"time"

	"berth/internal/session"
)

// Counts are the numbers of sessions in a store.
type Counts struct {
	ByStatus      map[session.Status]int // has every status
	Authenticated int                    // sessions whose token is valid
}

// Total is the number of all sessions.
func (c Counts) Total() int {
	total := 0
	for _, n := range c.ByStatus {
		total += n
	}
	return total
}

// Active is the number of sessions that are creating or running.
func (c Counts) Active() int { return c.ByStatus[session.Creating] + c.ByStatus[session.Running] }

// NewCounts returns the counts of no sessions.
func NewCounts() Counts {
	c := Counts{ByStatus: map[session.Status]int{}}
	for _, status := range session.Statuses() {
		c.ByStatus[status] = 0
	}
	return c
}

// Add counts a session, and whether its token is valid at a time.
func (c *Counts) Add(s session.Session, at time.Time) {
	c.ByStatus[s.Status]++
	if s.Token.Valid(at) {
		c.Authenticated++
	}
}

// Counter is a [session.Store] that counts its sessions more cheaply than by listing them.
type Counter interface {
	// Count counts the sessions, and those whose token is valid at a time.
	Count(ctx context.Context, at time.Time) (Counts, error)
}

// CountSessions counts the sessions of any store.
func CountSessions(ctx context.Context, store session.Store, at time.Time) (Counts, error) {
	if c, ok := store.(Counter); ok {
		return c.Count(ctx, at)
	}
	page, err := store.List(ctx, session.Query{})
	if err != nil {
		return Counts{}, err
	}
	counts := NewCounts()
	for _, s := range page.Sessions {
		counts.Add(s, at)
	}
	return counts, nil
}
