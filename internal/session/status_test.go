package session_test

import (
	"testing"

	"berth/internal/session"
)

// The allowed changes of status, which the table in the package must match.
func TestStatusMoves(t *testing.T) {
	t.Parallel()
	may := map[[2]session.Status]bool{
		{session.Creating, session.Running}: true, // its server is ready
		{session.Creating, session.Stopped}: true, // stopped before it is ready
		{session.Creating, session.Error}:   true, // it never becomes ready
		{session.Running, session.Stopped}:  true,
		{session.Running, session.Error}:    true, // its container has exited or is missing
		{session.Stopped, session.Running}:  true,
		{session.Stopped, session.Error}:    true, // it did not start
		{session.Error, session.Running}:    true,
		{session.Error, session.Stopped}:    true,
	}
	for _, from := range session.Statuses() {
		for _, to := range session.Statuses() {
			want := from == to || may[[2]session.Status{from, to}]
			if got := from.CanBecome(to); got != want {
				t.Errorf("%s may become %s: got %v, want %v", from, to, got, want)
			}
		}
	}
}

func TestOccupies(t *testing.T) {
	t.Parallel()
	op := func(k session.Kind) *session.Operation { return &session.Operation{Kind: k} }
	for _, c := range []struct {
		status session.Status
		op     *session.Operation
		want   bool
	}{
		{session.Creating, op(session.OpCreate), true},
		{session.Running, nil, true},
		{session.Running, op(session.OpStop), true}, // until it has stopped
		{session.Stopped, nil, false},
		{session.Stopped, op(session.OpStart), true},
		{session.Error, op(session.OpRestart), true},
		{session.Error, op(session.OpDelete), false},
		{session.Error, nil, false},
	} {
		if got := (session.Session{Status: c.status, Operation: c.op}).Occupies(); got != c.want {
			t.Errorf("%s with operation %v occupies a slot: got %v, want %v", c.status, c.op, got, c.want)
		}
	}
}
