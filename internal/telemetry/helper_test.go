package telemetry

import (
	"bytes"
	"log/slog"
	"testing"
)

// capture returns a logger of the given form, at DEBUG, and what it has written so far.
func capture(t *testing.T, format string) (*slog.Logger, *bytes.Buffer) {
	t.Helper()
	var b bytes.Buffer
	log, closer, err := NewLogger(Options{Level: slog.LevelDebug, Format: format, Console: &b})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Errorf("close log: %v", err)
		}
	})
	return log, &b
}
