package lifecycle

import (
	"fmt"

	"berth/internal/session"
)

// Origin is where a record comes from that no [Manager] has written.
type Origin int

// The origins, and what each tells of a session's status.
const (
	FromLegacyFile Origin = iota // an entry of the service before Berth: the status that it had there
	FromDamagedRow               // a row of the database with a status that is none: that status
	FromEngine                   // a container without a record: its state; empty where the session needs another container
)

// What people read of sessions that were taken in.
const (
	legacyMoved     = "moved from the service before Berth, which ran its container; start it to have a new one"
	damagedRowError = "its row in the database has the status %q, which is none; restart or delete the session"
	adoptedNotice   = "brought back by berth store adopt: its owner, its metadata and its token are not known; issue a token with berth session rotate"
)

// Intake gives a record that no Manager has written its status and its last error, by what its origin tells. It reports
// false, and changes nothing, when that is no status from which a session can go on.
func Intake(s *session.Session, from Origin, told string) bool {
	switch status, state := session.Status(told), session.State(told); from {
	case FromLegacyFile:
		switch status {
		case session.Creating, session.Running: // it is not Berth that looks after that container
			s.Status, s.LastError = session.Stopped, legacyMoved
		case session.Stopped, session.Error:
			s.Status = status
		default:
			return false
		}
	case FromDamagedRow:
		s.Status, s.LastError, s.Operation = session.Error, fmt.Sprintf(damagedRowError, told), nil
	case FromEngine:
		s.Status, s.LastError = session.Stopped, adoptedNotice
		if state == session.StateRunning || state == session.StatePaused {
			s.Status = session.Running
		}
	}
	return true
}
