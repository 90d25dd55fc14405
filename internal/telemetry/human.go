package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape sequences of a terminal: ECMA-48, select graphic rendition.
const (
	dim   = "\x1b[2m"
	reset = "\x1b[0m"
)

var levelColours = map[string]string{
	"DEBUG":    "\x1b[2m",
	"INFO":     "\x1b[32m",
	"WARNING":  "\x1b[33m",
	"ERROR":    "\x1b[31m",
	"CRITICAL": "\x1b[1;31m",
}

// humanEncoder writes
//
//	2024-01-15 10:30:45 [INFO ] logger:operation:line [request id] - message key=value
//
// in UTC, with "-" for an unknown request ID. Foreign text is escaped, so that it can neither start a new line nor control
// the terminal.
func humanEncoder(colour bool) encoder {
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return code + text + reset
	}
	return func(dst []byte, e entry) []byte {
		request := e.requestID
		if request == "" {
			request = "-"
		}
		dst = fmt.Appendf(dst, "%s [%s] %s:%s:%d [%s] - %s",
			e.time.UTC().Format("2006-01-02 15:04:05"), paint(levelColours[e.level], fmt.Sprintf("%-5s", e.level)),
			plainText(e.logger), plainText(e.operation), e.line, plainText(request), plainText(e.message))
		pair := func(key, value string) {
			dst = append(dst, ' ')
			dst = append(dst, paint(dim, plainKey(key)+"=")...)
			dst = append(dst, value...)
		}
		if e.sessionID != "" {
			pair(sessionIDAttr, quoted(e.sessionID))
		}
		if !e.duration.Equal(slog.Value{}) {
			pair(durationKey, quoted(text(e.duration)))
		}
		for _, a := range e.attrs {
			pair(a.Key, quoted(text(a.Value)))
		}
		return append(dst, '\n')
	}
}

// text formats a value for people. Anything but a plain value is encoded as JSON, which uses exported fields only and the
// MarshalJSON of secrets.
func text(v slog.Value) string {
	switch p := plain(v).(type) {
	case string:
		return p
	case bool, int64, uint64, float64:
		return fmt.Sprint(p)
	default:
		raw := appendJSON(nil, p)
		var word string
		if err := json.Unmarshal(raw, &word); err == nil {
			return word
		}
		return string(raw)
	}
}

// plainText escapes everything that is not printable, including line ends and terminal escape sequences.
func plainText(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unprintable(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// plainKey returns the key without characters that could be read as its end.
func plainKey(s string) string {
	return strings.NewReplacer(" ", "_", "=", "_", `"`, "_").Replace(plainText(s))
}

// quoted quotes a value whose end would be ambiguous.
func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " =\"\\") || !printable(s) {
		return strconv.Quote(s)
	}
	return s
}

func printable(s string) bool { return utf8.ValidString(s) && strings.IndexFunc(s, unprintable) < 0 }

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
