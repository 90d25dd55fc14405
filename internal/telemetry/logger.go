// Package telemetry writes the log: lines for people and for programs, request IDs that correlate them, the log file and its
// rotation, the registry of metrics. It does not know the events.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// Formats of the console.
const (
	FormatJSON  = "json"
	FormatHuman = "human"
	FormatAuto  = "auto" // human on a terminal, JSON elsewhere
)

// Options are the destinations and formats of the log.
type Options struct {
	Level   slog.Leveler // least severe level; nil: INFO. A *slog.LevelVar can be changed later
	Format  string       // of the console; empty: auto
	Console io.Writer    // nil: none
	NoColor bool         // no colour, even on a terminal
	Journal bool         // the console is systemd's journal: lines begin with their priority, which it takes off
	File    File         // always JSON
}

// NewLogger opens the log. The Closer closes the log file and waits for its rotation; the logger must not be used after
// that. It fails when the format is unknown or the file cannot be written.
func NewLogger(o Options) (*slog.Logger, io.Closer, error) {
	level := o.Level
	if level == nil {
		level = slog.LevelInfo
	}
	var handlers []slog.Handler
	if o.Console != nil {
		encode, err := consoleEncoder(o)
		if err != nil {
			return nil, nil, err
		}
		if o.Journal {
			encode = withPriority(encode)
		}
		handlers = append(handlers, newHandler(o.Console, level, encode))
	}
	var closer io.Closer = nothing{}
	if o.File.Path != "" {
		file, err := openFile(o.File)
		if err != nil {
			return nil, nil, err
		}
		console := o.Console
		if console == nil {
			console = os.Stderr
		}
		out := &fallback{
			out:       file,
			failed:    func(err error) { _, _ = fmt.Fprintf(console, "berth: the log file cannot be written: %v\n", err) },
			recovered: func() { _, _ = fmt.Fprintln(console, "berth: the log file is written again") },
		}
		if o.Console == nil {
			out.instead = func(line []byte) { _, _ = console.Write(line) }
		}
		handlers, closer = append(handlers, newHandler(out, level, encodeJSON)), file
	}
	if len(handlers) == 1 {
		return slog.New(handlers[0]), closer, nil
	}
	return slog.New(slog.NewMultiHandler(handlers...)), closer, nil
}

// Named returns a logger that adds the name of a part of the program to its lines.
func Named(l *slog.Logger, name string) *slog.Logger { return l.With(loggerKey, name) }

func consoleEncoder(o Options) (encoder, error) {
	terminal := isTerminal(o.Console)
	switch {
	case o.Format == FormatJSON, (o.Format == FormatAuto || o.Format == "") && !terminal:
		return encodeJSON, nil
	case o.Format == FormatHuman, o.Format == FormatAuto, o.Format == "":
		return humanEncoder(terminal && !o.NoColor), nil
	default:
		return nil, fmt.Errorf("log format %q is not json, human or auto", o.Format)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

type nothing struct{}

func (nothing) Close() error { return nil }
