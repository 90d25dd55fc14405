package guard

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// handshakePrefix is the start of the line that net/http logs for a failed TLS handshake.
const handshakePrefix = "http: TLS handshake error from "

// Limits of the log lines about refused handshakes, which any client can cause.
const (
	refusalBurst = 20
	refusalEvery = time.Second
)

// serverLog is a handler for the lines of http.Server, which come as bare text: it gives them a constant message and
// attributes before it passes them on.
type serverLog struct {
	slog.Handler
	probes  *probes
	limit   *rate.Limiter // of warnings about refused handshakes
	omitted *atomic.Int64 // since the last one
}

func newServerLog(to slog.Handler, probes *probes) serverLog {
	return serverLog{to, probes, rate.NewLimiter(rate.Every(refusalEvery), refusalBurst), new(atomic.Int64)}
}

// Handle passes a line on with a constant message.
func (h serverLog) Handle(ctx context.Context, line slog.Record) error {
	rest, refused := strings.CutPrefix(line.Message, handshakePrefix)
	if !refused {
		entry := slog.NewRecord(line.Time, line.Level, "http server", line.PC)
		entry.AddAttrs(slog.String("detail", line.Message))
		return h.Handler.Handle(ctx, entry)
	}
	remote, reason, _ := strings.Cut(rest, ": ")
	level, message, omitted := slog.LevelWarn, "tls handshake refused", int64(0)
	switch {
	case reason == "EOF":
		// A client that only checked whether the port is open.
		level = slog.LevelDebug
	case h.probes.take(remote):
		level, message = slog.LevelDebug, "tls handshake of a connection test refused"
	case h.limit.Allow():
		omitted = h.omitted.Swap(0)
	default:
		h.omitted.Add(1)
		level = slog.LevelDebug
	}
	if !h.Enabled(ctx, level) {
		return nil
	}
	entry := slog.NewRecord(line.Time, level, message, line.PC)
	entry.AddAttrs(slog.String("remote", remote), slog.String("reason", reason))
	if omitted > 0 {
		entry.AddAttrs(slog.Int64("omitted", omitted))
	}
	return h.Handler.Handle(ctx, entry)
}
