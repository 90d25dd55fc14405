package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// printable escapes control characters: messages quote text of other programs and users.
func printable(text string) string {
	var b strings.Builder
	appendPrintable(&b, text)
	return b.String()
}

// appendPrintable writes text with escapes for everything but printable characters, tabs and line ends: \xNN for a byte that
// is not UTF-8 and for a character below U+0100, \uNNNN or \UNNNNNNNN for others. A carriage return before a line feed is
// part of the line end.
func appendPrintable(b *strings.Builder, text string) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(b, `\x%02x`, text[i])
		case r == '\r' && strings.HasPrefix(text[i+1:], "\n"):
		case r == '\n', r == '\t', unicode.IsPrint(r), unicode.Is(unicode.Zs, r), unicode.Is(unicode.Co, r):
			b.WriteString(text[i : i+size])
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
		i += size
	}
}

// printableJSON is the same JSON with all control characters escaped: the encoders of the standard library do not escape
// control characters above U+007F and those that change the text direction.
func printableJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n', r == '\t', unicode.IsPrint(r), unicode.Is(unicode.Zs, r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

// terminalWriter is a stream to a terminal, with [printable] applied across writes. flush writes an incomplete rest.
type terminalWriter struct {
	to   io.Writer
	held []byte // an incomplete character, or a carriage return
}

// Write writes text but for an incomplete character at its end.
func (h *terminalWriter) Write(text []byte) (int, error) {
	all := append(h.held, text...)
	whole := len(all) - incomplete(all)
	h.held = append([]byte(nil), all[whole:]...)
	if err := h.write(all[:whole]); err != nil {
		return 0, err
	}
	return len(text), nil
}

func (h *terminalWriter) flush() error {
	rest := h.held
	h.held = nil
	return h.write(rest)
}

func (h *terminalWriter) write(text []byte) error {
	_, err := io.WriteString(h.to, printable(string(text)))
	return err
}

// incomplete is the number of bytes at the end that depend on the bytes that follow.
func incomplete(text []byte) int {
	if n := len(text); n > 0 && text[n-1] == '\r' {
		return 1
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if start := text[len(text)-n:]; utf8.RuneStart(start[0]) {
			if !utf8.FullRune(start) {
				return n
			}
			break
		}
	}
	return 0
}

// terminalSafe is the writer for text of other programs: standard output, with control characters escaped on a terminal.
func (s *stdio) terminalSafe() io.Writer {
	if f, ok := s.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &terminalWriter{to: s.Out}
	}
	return s.Out
}
