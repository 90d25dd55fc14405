package session

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that cannot be printed, logged or encoded by accident. Reveal is the only way out.
type Secret string

const redacted = "[redacted]"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String answers "[redacted]".
func (Secret) String() string { return redacted }

// GoString answers "[redacted]", for %#v.
func (Secret) GoString() string { return redacted }

// Format answers "[redacted]" to every verb, %x and %q included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText answers "[redacted]", for JSON, YAML and XML alike.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue answers "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
