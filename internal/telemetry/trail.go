package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

type alwaysKey struct{}

// Always returns a context whose log lines are written whatever the level is.
func Always(ctx context.Context) context.Context { return context.WithValue(ctx, alwaysKey{}, true) }

func isAlways(ctx context.Context) bool {
	always, _ := ctx.Value(alwaysKey{}).(bool)
	return always
}

// trailLogger is the name of the audit trail among the parts of the program.
const trailLogger = "berth.audit"

// NewTrail returns the logger of the audit trail, whose lines are JSON in a file of their own, or among those of log when
// the file has no path. None is left out for its level. What the file does not take goes to log, which tells once that it
// does not, and again when it does. The Closer closes the file. It fails when the file cannot be written.
func NewTrail(file File, log *slog.Logger) (*slog.Logger, io.Closer, error) {
	if file.Path == "" {
		return Named(slog.New(unfiltered{log.Handler()}), trailLogger), nothing{}, nil
	}
	out, err := openFile(file)
	if err != nil {
		return nil, nil, err
	}
	w := &faithful{out: out, log: Named(log, trailLogger)}
	return Named(slog.New(newHandler(w, slog.LevelDebug, encodeJSON)), trailLogger), out, nil
}

// unfiltered hands everything on as something that is to be written whatever the level is.
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

// faithful is a file whose lines go to a log when it does not take them. One handler writes to it, one line at a time.
type faithful struct {
	out io.Writer
	log *slog.Logger

	mu     sync.Mutex
	failed bool
}

// Write never fails: a line is in the file or in the log.
func (f *faithful) Write(line []byte) (int, error) {
	_, err := f.out.Write(line)
	f.mu.Lock()
	before := f.failed
	f.failed = err != nil
	f.mu.Unlock()
	ctx := Always(context.Background())
	switch {
	case err != nil:
		if !before {
			f.log.ErrorContext(ctx, "audit trail cannot be written to its file; it is written here until it can", "error", err)
		}
		f.log.InfoContext(ctx, "audit record", "record", strings.TrimSuffix(string(line), "\n"))
	case before:
		f.log.InfoContext(ctx, "audit trail is written to its file again")
	}
	return len(line), nil
}
