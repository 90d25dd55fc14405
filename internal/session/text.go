package session

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxOwner is the length of an owner in characters: that of its column in the sessions table.
const MaxOwner = 255

// IsPlainText reports whether text has at most so many characters, and none that can make two different texts look alike:
// control and format characters and line separators. Decoders replace any bytes that they cannot decode by U+FFFD, so that it
// stands for different texts.
func IsPlainText(text string, most int) bool {
	return utf8.RuneCountInString(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, isInvisible)
}

// CheckText returns a CodeInvalid error for text of a client that cannot be stored as what: see [IsPlainText] and [MaxOwner].
func CheckText(what, text string) error {
	if !IsPlainText(text, MaxOwner) {
		return Errorf(CodeInvalid, "the %s must be at most %d characters of text, without control characters, invisible "+
			"formatting characters such as direction marks, or U+FFFD", what, MaxOwner)
	}
	return nil
}

func isInvisible(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Zl, unicode.Zp)
}
