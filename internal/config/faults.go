package config

import (
	"fmt"
	"strings"
)

// Fault is one fault of a configuration.
type Fault struct {
	Variable string // environment variable that names the setting, or the place in the configuration file
	Value    string // as given, "[redacted]" for secrets; may be empty
	Problem  string // what is allowed
}

// String is one line: variable, value, and what is allowed.
func (f Fault) String() string {
	if f.Value == "" {
		return f.Variable + ": " + f.Problem
	}
	return fmt.Sprintf("%s=%q: %s", f.Variable, f.Value, f.Problem)
}

// FaultsError carries every fault of a configuration.
type FaultsError struct {
	Faults []Fault // never empty
}

// Error lists the faults, one per line when there are several.
func (e *FaultsError) Error() string {
	if len(e.Faults) == 1 {
		return "configuration: " + e.Faults[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "configuration has %d faults:", len(e.Faults))
	for _, f := range e.Faults {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

func faultsError(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	return &FaultsError{Faults: faults}
}
