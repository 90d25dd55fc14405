package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strings"
)

type alwaysKey struct{}

// Always returns a context whose log lines are written at every level.
func Always(ctx context.Context) context.Context { return context.WithValue(ctx, alwaysKey{}, true) }

func isAlways(ctx context.Context) bool {
	always, _ := ctx.Value(alwaysKey{}).(bool)
	return always
}

// trailLogger is the audit trail's name in the field logger.
const trailLogger = "berth.audit"

// NewTrail returns the logger of the audit trail, whose lines are JSON in a file of their own, or among those of log when
// the file has no path. No line is dropped for its level. Lines that cannot be written to the file go to log, which reports the
// failure once, and the recovery. The Closer closes the file. It fails when the file cannot be written.
func NewTrail(file File, log *slog.Logger) (*slog.Logger, io.Closer, error) {
	if file.Path == "" {
		return Named(slog.New(unfiltered{log.Handler()}), trailLogger), nothing{}, nil
	}
	out, err := openFile(file)
	if err != nil {
		return nil, nil, err
	}
	return Named(slog.New(newHandler(orLog(out, Named(log, trailLogger)), slog.LevelDebug, encodeJSON)), trailLogger), out, nil
}

// orLog is a file with a log as its fallback.
func orLog(file io.Writer, log *slog.Logger) *fallback {
	ctx := Always(context.Background())
	return &fallback{
		out: file,
		failed: func(err error) {
			log.ErrorContext(ctx, "audit trail cannot be written to its file; records go to this log meanwhile", "error", err)
		},
		recovered: func() { log.InfoContext(ctx, "audit trail is written to its file again") },
		instead: func(line []byte) {
			log.InfoContext(ctx, "audit record", "record", strings.TrimSuffix(string(line), "\n"))
		},
	}
}

// unfiltered passes on every record as one that is written at every level.
type unfiltered struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (unfiltered) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (u unfiltered) Handle(ctx context.Context, r slog.Record) error {
	return u.Handler.Handle(Always(ctx), r)
}

// WithAttrs implements [slog.Handler].
func (u unfiltered) WithAttrs(attrs []slog.Attr) slog.Handler {
	return unfiltered{u.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (u unfiltered) WithGroup(name string) slog.Handler { return unfiltered{u.Handler.WithGroup(name)} }
