package acme

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// slogCore writes certmagic's log lines at DEBUG: strangers can cause any number of them. What an operator must know comes as
// events, which [Manager] logs.
type slogCore struct{ log *slog.Logger }

var _ zapcore.Core = slogCore{}

func (c slogCore) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attributes(fields)...)}
}

func (c slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	c.log.Debug("acme: "+entry.Message, attributes(fields)...) //nolint:sloglint // the text is certmagic's
	return nil
}

func (slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	all := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(all)
	}
	var attrs []any
	for name, value := range all.Fields {
		attrs = append(attrs, slog.Any(name, value))
	}
	return attrs
}
