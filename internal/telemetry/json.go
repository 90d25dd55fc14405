package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// timestampLayout is the layout of timestamps in log lines; times are UTC.
const timestampLayout = "2006-01-02T15:04:05.000Z"

// encodeJSON writes timestamp, level, logger and message, then request_id, session_id, operation and duration_ms where
// known, then all other attributes.
func encodeJSON(dst []byte, e entry) []byte {
	dst = append(dst, '{')
	dst = member(dst, "timestamp", e.time.UTC().Format(timestampLayout))
	dst = member(dst, "level", e.level)
	dst = member(dst, loggerKey, e.logger)
	dst = member(dst, "message", e.message)
	if e.requestID != "" {
		dst = member(dst, requestIDAttr, e.requestID)
	}
	if e.sessionID != "" {
		dst = member(dst, sessionIDAttr, e.sessionID)
	}
	if e.operation != "" {
		dst = member(dst, operationKey, e.operation)
	}
	if !e.duration.Equal(slog.Value{}) {
		dst = member(dst, durationKey, plain(e.duration))
	}
	for _, a := range e.attrs {
		dst = member(dst, a.Key, plain(a.Value))
	}
	return append(dst, '}', '\n')
}

// member appends one member of an object, after a comma unless it is the first.
func member(dst []byte, key string, value any) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = appendJSON(dst, key)
	dst = append(dst, ':')
	return appendJSON(dst, value)
}

// appendJSON never fails: a value that JSON cannot represent becomes a string that says so.
func appendJSON(dst []byte, value any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return strconv.AppendQuote(dst, "!ERROR: "+plainText(err.Error()))
	}
	return appendVisible(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// appendVisible appends the same JSON with terminal control characters escaped: lines quote foreign text, and encoding/json
// does not escape control characters above U+007F and bidirectional ones.
func appendVisible(dst, text []byte) []byte {
	if !slices.ContainsFunc(text, func(b byte) bool { return b >= unicode.MaxASCII }) {
		return append(dst, text...)
	}
	for _, r := range string(text) {
		switch {
		case r < unicode.MaxASCII, unicode.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r < 0x10000:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
		}
	}
	return dst
}

// plain converts a value for JSON: errors and durations become text.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindFloat64:
		if f := v.Float64(); math.IsNaN(f) || math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		return v.Float64()
	case slog.KindAny:
		switch held := v.Any().(type) {
		case json.Marshaler:
			return held
		case error:
			return fmt.Sprint(held)
		}
	}
	return v.Any()
}
