package telemetry

import (
	"context"
	"log/slog"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// LevelCritical is the level of faults that stop the program.
const LevelCritical = slog.LevelError + 4

// Names of the attributes that are fixed fields of every line.
const (
	loggerKey     = "logger"
	requestIDAttr = "request_id"
	sessionIDAttr = "session_id"
	operationKey  = "operation"
	durationKey   = "duration_ms"
)

const defaultLogger = "berth"

// entry is one log line before it is encoded.
type entry struct {
	time      time.Time
	level     string
	logger    string
	operation string // the operation, or else the function that logs
	line      int    // in the source; 0: not known
	requestID string
	sessionID string
	duration  slog.Value // milliseconds; the zero Value: none
	message   string
	attrs     []slog.Attr // all others, resolved, groups flattened to dotted keys, no key twice
}

func newEntry(ctx context.Context, r slog.Record, own []slog.Attr, prefix string) entry {
	e := entry{
		time:      r.Time,
		level:     levelName(r.Level),
		logger:    defaultLogger,
		requestID: RequestID(ctx),
		sessionID: SessionID(ctx),
		message:   cut(r.Message),
	}
	e.operation, e.line = caller(r.PC)
	for _, a := range own {
		e.add(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		for _, flat := range flatten(nil, prefix, a) {
			e.add(flat)
		}
		return true
	})
	return e
}

// add sets a fixed field or appends the attribute. The later of two with the same key wins.
func (e *entry) add(a slog.Attr) {
	a = bounded(a)
	switch a.Key {
	case loggerKey:
		e.logger = a.Value.String()
		return
	case requestIDAttr:
		e.requestID = a.Value.String()
		return
	case sessionIDAttr:
		e.sessionID = a.Value.String()
		return
	case operationKey:
		e.operation = a.Value.String()
		return
	case durationKey:
		e.duration = milliseconds(a.Value)
		return
	case "timestamp", "level", "message":
		a.Key += "_"
	}
	for i := range e.attrs {
		if e.attrs[i].Key == a.Key {
			e.attrs[i] = a
			return
		}
	}
	e.attrs = append(e.attrs, a)
}

// flatten appends a, or the attributes of a if it is a group. Empty attributes are dropped, as slog requires of handlers.
func flatten(to []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	a.Value = a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return to
	}
	if a.Value.Kind() != slog.KindGroup {
		a.Key = prefix + a.Key
		return append(to, a)
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, member := range a.Value.Group() {
		to = flatten(to, prefix, member)
	}
	return to
}

func milliseconds(v slog.Value) slog.Value {
	if v.Kind() == slog.KindDuration {
		return slog.Float64Value(float64(v.Duration().Microseconds()) / 1000)
	}
	return v
}

func levelName(l slog.Level) string {
	switch {
	case l >= LevelCritical:
		return "CRITICAL"
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	default:
		return "DEBUG"
	}
}

// closure matches the parts of a function's name that the compiler generates: "func1", "2", "gowrap1", "func1-range2".
var closure = regexp.MustCompile(`^(func|gowrap|deferwrap)?\d+(-range\d+)?$`)

// caller returns the name of the function that logged, without its package and receiver, and the line in it.
func caller(pc uintptr) (string, int) {
	if pc == 0 {
		return "-", 0
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	name := frame.Function[strings.LastIndexByte(frame.Function, '/')+1:]
	parts := strings.Split(strings.ReplaceAll(name, "[...]", ""), ".")
	for i := len(parts) - 1; i > 0; i-- {
		if !closure.MatchString(parts[i]) {
			return parts[i], frame.Line
		}
	}
	return name, frame.Line
}
