package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v4"
)

// writeJSON prints a value as indented JSON without terminal control characters.
func writeJSON(w io.Writer, value any) error {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	_, err := io.WriteString(w, printableJSON(text.String()))
	return err
}

// writeYAML prints a value by its yaml tags.
func writeYAML(w io.Writer, value any) error {
	text, err := yaml.Dump(value, yaml.WithIndent(2))
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// writeYAMLAsJSON prints as JSON what writeYAML would print, with the same keys.
func writeYAMLAsJSON(w io.Writer, value any) error {
	text, err := yaml.Dump(value)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var plain any
	if err := yaml.Load(text, &plain); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return writeJSON(w, plain)
}

// format is the flag of commands that print a table or JSON; embed it.
type format struct {
	Output string `short:"o" enum:"table,json" default:"table" help:"Form of the output: ${enum}."`
}

// table prints rows, of which the first is the header, or the value as JSON.
func (f format) table(std *stdio, value any, rows [][]string) error {
	if f.Output == "json" {
		return writeJSON(std.Out, value)
	}
	return writeTable(std.Out, rows)
}

// print prints the fields of one object, name and value, or the object as JSON.
func (f format) print(std *stdio, value any, fields [][2]string) error {
	rows := make([][]string, len(fields))
	for i, field := range fields {
		rows[i] = field[:]
	}
	return f.table(std, value, rows)
}

// writeTable prints aligned columns. Line ends and terminal control characters are taken out of the cells; an empty cell
// becomes "-".
func writeTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = cmp.Or(oneLine(cell), "-")
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// oneLine is a text without line ends and terminal control characters.
func oneLine(text string) string { return strings.Join(strings.Fields(printable(text)), " ") }
