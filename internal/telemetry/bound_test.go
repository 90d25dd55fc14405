package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestForeignTextIsTruncated(t *testing.T) {
	t.Parallel()
	for _, long := range []string{strings.Repeat("A", 60<<10), strings.Repeat("\x1b", 60<<10), strings.Repeat("€", 20<<10), strings.Repeat("\xff", 60<<10)} {
		for _, format := range []string{FormatJSON, FormatHuman} {
			for what, write := range map[string]func(*slog.Logger){
				"text":    func(l *slog.Logger) { l.Info("m", "method", long) },
				"error":   func(l *slog.Logger) { l.Info("m", "error", errors.New(long)) },
				"message": func(l *slog.Logger) { l.Info(long) },
				"own":     func(l *slog.Logger) { l.With("method", long).Info("m") },
				"id": func(l *slog.Logger) {
					l.InfoContext(WithRequestID(context.Background(), "req-1"), "m", "session_id", long)
				},
			} {
				log, written := capture(t, format)
				write(log)
				got := written.String()
				if len(got) > 7*maxText || !strings.Contains(got, "bytes more)") || !utf8.ValidString(got) {
					t.Errorf("%s of %d bytes %q in %s: got a line of %d bytes, want it truncated and marked", what, len(long), long[:1], format, len(got))
				}
			}
		}
	}
}

func TestOwnTextIsNotTruncated(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 60<<10)
	for _, key := range []string{"stack", "record"} {
		log, written := capture(t, FormatJSON)
		log.Info("m", key, long)
		if !strings.Contains(written.String(), long) {
			t.Errorf("%s: got a line of %d bytes, want all of it", key, written.Len())
		}
	}
	log, written := capture(t, FormatJSON)
	log.Info("m", "error", strings.Repeat("€", maxText/3))
	if strings.Contains(written.String(), "more)") {
		t.Errorf("a text of at most %d bytes was truncated", maxText)
	}
}
