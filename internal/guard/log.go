package guard

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// handshakePrefix begins the line that net/http writes for a connection whose TLS handshake failed.
const handshakePrefix = "http: TLS handshake error from "

// serverLog turns the lines of http.Server into log entries.
func serverLog(logger *slog.Logger) *log.Logger {
	return log.New(lineWriter{logger}, "", 0)
}

type lineWriter struct{ logger *slog.Logger }

func (w lineWriter) Write(p []byte) (int, error) {
	ctx, line := context.Background(), strings.TrimSpace(string(p))
	rest, ok := strings.CutPrefix(line, handshakePrefix)
	if !ok {
		w.logger.WarnContext(ctx, "http server", "detail", line)
		return len(p), nil
	}
	remote, reason, _ := strings.Cut(rest, ": ")
	level := slog.LevelWarn
	if reason == "EOF" {
		// Somebody looked whether the port is open, and left without a word.
		level = slog.LevelDebug
	}
	w.logger.Log(ctx, level, "tls handshake refused", "remote", remote, "reason", reason)
	return len(p), nil
}
