package telemetry

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestJournalLinesBeginWithTheirPriority(t *testing.T) {
	t.Parallel()
	for _, format := range []string{FormatJSON, FormatHuman} {
		var out bytes.Buffer
		log, _, err := NewLogger(Options{Level: slog.LevelDebug, Format: format, Console: &out, Journal: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, level := range []slog.Level{LevelCritical, slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug} {
			log.Log(t.Context(), level, "x")
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			got = append(got, line[:min(3, len(line))])
		}
		if want := "<2> <3> <4> <6> <7>"; strings.Join(got, " ") != want {
			t.Errorf("%s: lines begin with %q, want %s", format, got, want)
		}
	}
}

func TestLinesOfOtherConsolesHaveNoPriority(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	log.ErrorContext(t.Context(), "x")
	if !strings.HasPrefix(b.String(), "{") {
		t.Errorf("got %s", b)
	}
	if IsJournal(os.Stderr, "") || IsJournal(os.Stderr, "1:1") || IsJournal(&bytes.Buffer{}, "8:1") {
		t.Error("another stream was taken for the journal's")
	}
}
