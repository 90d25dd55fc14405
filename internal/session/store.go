package session

import (
	"context"
	"time"
)

// Store remembers sessions. All stores pass storetest.Run, which holds the full meaning.
//
// Every method returns a CodeStoreUnavailable error when the store cannot be reached or written.
type Store interface {
	// Create adds a session and sets its Revision to 1. An ID that is taken is a CodeConflict error. When s occupies
	// a slot and max is above 0, the count of occupying sessions and the insertion are one atomic step, and a reached
	// limit is a CodeLimit error.
	Create(ctx context.Context, s Session, max int) (Session, error)
	// Get returns a CodeNotFound error if there is no such session.
	Get(ctx context.Context, id ID) (Session, error)
	// Update replaces the session whose ID and Revision s has, and returns it with the next Revision. It returns a
	// CodeNotFound error if there is no such session and a CodeConflict error ([Stale]) if its revision is another
	// one. LastAccessed never goes backwards. When s begins to occupy a slot, max is enforced as by Create.
	Update(ctx context.Context, s Session, max int) (Session, error)
	// Delete removes the session if its revision is the given one; errors as with Update.
	Delete(ctx context.Context, id ID, revision int64) error
	// List returns one page, ordered by creation time and ID.
	List(ctx context.Context, q Query) (Page, error)
	// Touch moves LastAccessed of each session forward, never backwards, and leaves Revision alone. Sessions that are
	// gone are ignored.
	Touch(ctx context.Context, at map[ID]time.Time) error
	// Ping returns nil when the store can be read and written.
	Ping(ctx context.Context) error
}

// Unlimited is the max of an update that may not be refused for want of room.
const Unlimited = 0

// Query chooses sessions. Zero fields do not filter.
type Query struct {
	Owner    string
	Statuses []Status
	TokenAt  time.Time // only those whose token is good at this time; see [Token.Valid]
	After    string    // Page.Next of the page before; empty: from the beginning
	Limit    int       // most sessions in the page; 0: all
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
