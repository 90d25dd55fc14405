package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
)

// encoder writes an entry as one line with a newline at its end.
type encoder func(dst []byte, e entry) []byte

// handler turns records into entries and writes each with one call, so that lines never mix.
type handler struct {
	level  slog.Leveler
	encode encoder
	out    *output
	attrs  []slog.Attr // of With, already flattened
	prefix string      // of WithGroup, with a dot at its end; may be empty
}

var _ slog.Handler = (*handler)(nil)

// output is shared by a handler and all that were derived from it.
type output struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

func newHandler(w io.Writer, level slog.Leveler, encode encoder) *handler {
	return &handler{level: level, encode: encode, out: &output{w: w}}
}

// Enabled implements [slog.Handler].
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level.Level() || isAlways(ctx)
}

// Handle implements [slog.Handler].
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	e := newEntry(ctx, r, h.attrs, h.prefix)
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.buf = h.encode(h.out.buf[:0], e)
	_, err := h.out.w.Write(h.out.buf)
	return err
}

// WithAttrs implements [slog.Handler].
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		derived.attrs = flatten(derived.attrs, h.prefix, a)
	}
	return &derived
}

// WithGroup implements [slog.Handler].
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	derived := *h
	derived.prefix += name + "."
	return &derived
}
