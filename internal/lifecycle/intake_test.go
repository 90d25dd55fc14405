package lifecycle_test

import (
	"strings"
	"testing"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/record"
)

func TestIntakeStatusDependsOnOrigin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from   lifecycle.Origin
		value  string
		status session.Status // empty: refused
		says   string
	}{
		{lifecycle.FromLegacyFile, "creating", session.Stopped, "the service before Berth"},
		{lifecycle.FromLegacyFile, "running", session.Stopped, "the service before Berth"},
		{lifecycle.FromLegacyFile, "stopped", session.Stopped, ""},
		{lifecycle.FromLegacyFile, "error", session.Error, ""},
		{lifecycle.FromLegacyFile, "paused", "", ""},
		{lifecycle.FromLegacyFile, "", "", ""},
		{lifecycle.FromDamagedRow, "paused", session.Error, `"paused"`},
		{lifecycle.FromDamagedRow, "", session.Error, `""`},
		{lifecycle.FromEngine, "running", session.Running, "berth store adopt"},
		{lifecycle.FromEngine, "paused", session.Running, "berth store adopt"},
		{lifecycle.FromEngine, "exited", session.Stopped, "berth store adopt"},
		{lifecycle.FromEngine, "", session.Stopped, "berth store adopt"},
	} {
		s := session.Session{ID: "ses-a", Operation: &session.Operation{Kind: session.OpStart}}
		before := s.Clone()
		ok := lifecycle.Intake(&s, tt.from, tt.value)
		if ok != (tt.status != "") || s.Status != tt.status || !strings.Contains(s.LastError, tt.says) || tt.says == "" && s.LastError != "" {
			t.Errorf("origin %d, value %q: got %v with %q, %q; want %q and an error that says %q", tt.from, tt.value, ok, s.Status, s.LastError, tt.status, tt.says)
		}
		if !ok && record.Changed(&before, &s) != 0 {
			t.Errorf("origin %d, value %q: the record was changed although it was refused", tt.from, tt.value)
		}
		if kept := s.Operation != nil; kept != (tt.from != lifecycle.FromDamagedRow) {
			t.Errorf("origin %d, value %q: the operation was kept: %v", tt.from, tt.value, kept)
		}
		if ok && !s.Status.Valid() {
			t.Errorf("origin %d, value %q: got the status %q", tt.from, tt.value, s.Status)
		}
	}
}
