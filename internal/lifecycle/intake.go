package lifecycle

import (
	"fmt"

	"berth/internal/session"
)

// Origin is the source of a record that no [Manager] has written.
type Origin int

// The origins, and what each provides about a session's status.
const (
	FromLegacyFile Origin = iota // an entry of the legacy service: its status there
	FromDamagedRow               // a row of the database with an invalid status: that status
	FromEngine                   // a container without a record: its state; empty if the session needs another container
)

// The last errors of such sessions, shown to users.
const (
	legacyMoved     = "moved from the service before Berth, which ran its container; start it to have a new one"
	damagedRowError = "its row in the database has the status %q, which is none; restart or delete the session"
	adoptedNotice   = "brought back by berth store adopt: its owner, its metadata and its token are not known; issue a token with berth session rotate"
)

// Intake sets the status and the last error of a record that no Manager has written, from the status or state that its origin
// provides. It reports false, and changes nothing, if that value is unknown.
func Intake(s *session.Session, from Origin, value string) bool {
	switch status, state := session.Status(value), session.State(value); from {
	case FromLegacyFile:
		switch status {
		case session.Creating, session.Running: // that container is not managed by Berth
			s.Status, s.LastError = session.Stopped, legacyMoved
		case session.Stopped, session.Error:
			s.Status = status
		default:
			return false
		}
	case FromDamagedRow:
		s.Status, s.LastError, s.Operation = session.Error, fmt.Sprintf(damagedRowError, value), nil
	case FromEngine:
		s.Status, s.LastError = session.Stopped, adoptedNotice
		if state == session.StateRunning || state == session.StatePaused {
			s.Status = session.Running
		}
	}
	return true
}
