package session

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// Variables are environment variables of a session's server. Their values may be secrets of its user: printed, logged or encoded, they
// are their names only.
type Variables map[string]string

// Names lists the names in their order.
func (v Variables) Names() []string { return slices.Sorted(maps.Keys(v)) }

// String lists the names.
func (v Variables) String() string { return "[" + strings.Join(v.Names(), " ") + "]" }

// GoString lists the names, for %#v.
func (v Variables) GoString() string { return v.String() }

// Format writes the names for every verb.
func (v Variables) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// MarshalJSON writes the names. Stores write the values themselves.
func (v Variables) MarshalJSON() ([]byte, error) { return json.Marshal(v.Names()) }

// LogValue lists the names.
func (v Variables) LogValue() slog.Value { return slog.StringValue(v.String()) }
