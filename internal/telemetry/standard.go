package telemetry

import (
	"context"
	"io"
	"log" //nolint:depguard // redirected: net/http writes to it
	"log/slog"
	"strings"
	"unicode/utf8"
)

// mostStandard bounds a line of the standard library's logger, in bytes.
const mostStandard = 256

// RedirectStandardLog writes the lines of package log, mostly those of net/http, to l at level DEBUG. They may quote text of a
// session's server, so they are truncated to 256 bytes, and their control characters are escaped like those of every line.
// The returned function undoes it.
func RedirectStandardLog(l *slog.Logger) (undo func()) {
	out, flags, prefix := log.Writer(), log.Flags(), log.Prefix()
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(standard{l})
	return func() {
		log.SetOutput(out)
		log.SetFlags(flags)
		log.SetPrefix(prefix)
	}
}

type standard struct{ log *slog.Logger }

var _ io.Writer = standard{}

// Write logs p as one line. It never fails.
func (s standard) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p[:min(len(p), mostStandard)]))
	if len(p) > mostStandard {
		text += "…"
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, string(utf8.RuneError))
	}
	s.log.LogAttrs(context.Background(), slog.LevelDebug, "standard library", slog.String("detail", plainText(text)))
	return len(p), nil
}
