package session

import (
	"context"
	"time"
)

// Store stores sessions. All stores pass storetest.Run, which is the complete specification.
//
// Every method returns a CodeStoreUnavailable error if the store cannot be reached or written.
type Store interface {
	// Create adds a session and sets its Revision to 1. An ID that exists is a CodeConflict error. If s occupies a slot, the sessions
	// that occupy one are counted in the same atomic step, and a reached limit is a CodeLimit error; if s has an owner, so are the
	// owner's sessions, with a CodeOwnerLimit error.
	Create(ctx context.Context, s Session, max Quota) (Session, error)
	// Get returns a CodeNotFound error if there is no such session.
	Get(ctx context.Context, id ID) (Session, error)
	// Update replaces the session with the ID and the Revision of s, and returns it with the next Revision. It returns a
	// CodeNotFound error if there is no such session and a CodeConflict error ([Stale]) if its revision differs.
	// LastAccessed never goes backwards. If s begins to occupy a slot, max is enforced as by Create.
	Update(ctx context.Context, s Session, max int) (Session, error)
	// Delete removes the session if it has this revision; errors as with Update.
	Delete(ctx context.Context, id ID, revision int64) error
	// List returns one page, ordered by creation time and ID.
	List(ctx context.Context, q Query) (Page, error)
	// Touch moves LastAccessed of each session forward, never backwards, and does not change Revision. Missing sessions
	// are ignored.
	Touch(ctx context.Context, at map[ID]time.Time) error
	// Ping returns nil if the store can be read and written.
	Ping(ctx context.Context) error
}

// Quota limits the sessions that there may be when one is added. Zero fields do not limit.
type Quota struct {
	Running  int // that occupy a slot
	PerOwner int // of one owner, those that are stopped included; a session without an owner does not count
}

// Unlimited is the max of an update that must not be refused because of the limit.
const Unlimited = 0

// Query selects sessions. Zero fields do not filter.
type Query struct {
	Owner    string
	Statuses []Status
	TokenAt  time.Time // only those with a valid token at this time; see [Token.Valid]
	After    string    // Page.Next of the previous page; empty: from the beginning
	Limit    int       // maximum of sessions in the page; 0: all
}

// Page is a part of a list.
type Page struct {
	Sessions []Session
	Next     string // Query.After of the next page; empty: this is the last one
}

// ByID returns sessions by their IDs.
func ByID(sessions []Session) map[ID]Session {
	all := make(map[ID]Session, len(sessions))
	for _, s := range sessions {
		all[s.ID] = s
	}
	return all
}
