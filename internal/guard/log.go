package guard

import (
	"context"
	"log/slog"
	"strings"
)

// handshakePrefix begins the line that net/http writes for a connection whose TLS handshake failed.
const handshakePrefix = "http: TLS handshake error from "

// serverLog is a handler for the lines of http.Server, which come as bare text: it gives them a constant message and
// attributes before it passes them on.
type serverLog struct{ slog.Handler }

// Handle passes a line on as an entry of the house.
func (h serverLog) Handle(ctx context.Context, line slog.Record) error {
	rest, refused := strings.CutPrefix(line.Message, handshakePrefix)
	if !refused {
		entry := slog.NewRecord(line.Time, line.Level, "http server", line.PC)
		entry.AddAttrs(slog.String("detail", line.Message))
		return h.Handler.Handle(ctx, entry)
	}
	remote, reason, _ := strings.Cut(rest, ": ")
	level := slog.LevelWarn
	if reason == "EOF" {
		// Somebody looked whether the port is open, and left without a word.
		level = slog.LevelDebug
	}
	if !h.Enabled(ctx, level) {
		return nil
	}
	entry := slog.NewRecord(line.Time, level, "tls handshake refused", line.PC)
	entry.AddAttrs(slog.String("remote", remote), slog.String("reason", reason))
	return h.Handler.Handle(ctx, entry)
}
