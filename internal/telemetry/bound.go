package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"unicode/utf8"
)

// maxText bounds the bytes of a message or an attribute in a line. Lines quote foreign text, such as a request's method or
// an invalid answer of a session's server: a few such texts of unbounded length would rotate the log away.
const maxText = 2 << 10

// whole are attributes with Berth's own text, which would be useless when truncated.
var whole = map[string]bool{"stack": true, "record": true}

// bounded returns the attribute with at most [maxText] bytes of text. Values that are neither text nor an error are returned
// unchanged: they are not foreign text.
func bounded(a slog.Attr) slog.Attr {
	if whole[a.Key] {
		return a
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(cut(a.Value.String()))
	case slog.KindAny:
		_, marshals := a.Value.Any().(json.Marshaler)
		if err, ok := a.Value.Any().(error); ok && !marshals {
			a.Value = slog.StringValue(cut(fmt.Sprint(err)))
		}
	}
	return a
}

// cut truncates text and appends the number of removed bytes.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > maxText-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes more)", text[:end], len(text)-end)
}
