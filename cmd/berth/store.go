package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"berth/internal/atomicfile"
	"berth/internal/config"
	"berth/internal/session"
	"berth/internal/storage"
)

type storeCmd struct {
	Import storeImportCmd `cmd:"" help:"Import sessions from a file into the store."`
	Export storeExportCmd `cmd:"" help:"Export all sessions to a file."`
	Status storeStatusCmd `cmd:"" help:"Show the backend and the number of sessions."`
	Adopt  storeAdoptCmd  `cmd:"" help:"Recover sessions that are on the engine and missing in the store."`
}

// storeLog is the store's log: warnings and errors, to standard error.
func storeLog(std *stdio) *slog.Logger {
	return slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type storeImportCmd struct {
	format
	configFlags
	Source string `arg:"" name:"file" help:"File to read; - is standard input."`
	DryRun bool   `help:"Show the result and change nothing."`
}

// Help is shown by berth store import --help.
func (storeImportCmd) Help() string {
	return `Imports the sessions of a file into the configured store: the database with USE_DATABASE_STORAGE=true, else the file in the
state directory, which Berth must not have open. It reads the output of "berth store export", and the files of the legacy
service, of which the tokens are replaced by digests. An existing session of the same or a newer version is not changed; the
same file may be imported again. Entries that cannot be read are written to a file in the state directory and reported.

Examples:

    berth store import sessions.json --dry-run
    USE_DATABASE_STORAGE=true berth store import sessions.json`
}

// Run imports.
func (c *storeImportCmd) Run(ctx context.Context, std *stdio, cfg config.Config) error {
	data, err := readSource(c.Source, std.In)
	if err != nil {
		return err
	}
	report, err := storage.Import(ctx, cfg, data, c.DryRun, storeLog(std))
	if err != nil {
		return err
	}
	if err := c.print(std, report, [][2]string{
		{"format", report.Format},
		{"sessions", strconv.Itoa(report.Total)},
		{"added", strconv.Itoa(report.Added)},
		{"known", strconv.Itoa(report.Known)},
		{"rejected", strconv.Itoa(len(report.Rejected))},
	}); err != nil {
		return err
	}
	if len(report.Rejected) == 0 {
		return nil
	}
	for _, r := range report.Rejected {
		fmt.Fprintf(std.Err, "berth: entry %s: %s\n", printable(r.Name), printable(r.Reason))
	}
	err = fmt.Errorf("%d of %d entries could not be read", len(report.Rejected), len(report.Rejected)+report.Total)
	if report.RejectedFile != "" {
		return withHint(err, "they are in %s: correct and import them", report.RejectedFile)
	}
	return err
}

func readSource(name string, in io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &commandError{code: exitUsage, err: err}
	}
	return data, err
}

type storeExportCmd struct {
	configFlags
	Output string `short:"o" default:"-" placeholder:"FILE" help:"File to write, readable by its owner only; - is standard output."`
	Force  bool   `help:"Replace an existing file."`
}

// Help is shown by berth store export --help.
func (storeExportCmd) Help() string {
	return `Writes all sessions in the format of the file in the state directory: a backup, or the migration from the database to the
file. It contains digests of tokens, and no tokens, but the values of sessions' environment variables.

Examples:

    berth store export --output backup.json
    USE_DATABASE_STORAGE=true berth store export --output /var/lib/berth/sessions.json`
}

// Run exports.
func (c *storeExportCmd) Run(ctx context.Context, std *stdio, cfg config.Config) error {
	if c.Output != "-" && !c.Force {
		if _, err := os.Lstat(c.Output); err == nil {
			return withHint(session.Errorf(session.CodeConflict, "%s exists already", c.Output), "choose another file, or --force")
		}
	}
	data, count, err := storage.Export(ctx, cfg, storeLog(std))
	if err != nil {
		return err
	}
	if c.Output == "-" {
		_, err := io.WriteString(std.Out, printableJSON(string(data)))
		return err
	}
	if err := c.write(cfg.Server.StateDir, data); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "%d sessions written to %s\n", count, c.Output)
	return err
}

// write writes the file. In the state directory, its owner is the user that Berth runs as.
func (c *storeExportCmd) write(stateDir string, data []byte) error {
	owner := ""
	if into, err := os.Stat(filepath.Dir(c.Output)); err == nil {
		if state, err := os.Stat(stateDir); err == nil && os.SameFile(into, state) {
			owner = stateDir
		}
	}
	return atomicfile.Write(c.Output, data, 0o600, owner)
}

type storeStatusCmd struct {
	format
	configFlags
}

// Help is shown by berth store status --help.
func (storeStatusCmd) Help() string {
	return `Reads the store itself and does not write to it. While Berth is running it has its file open, so that this works for a database
only; use GET /health instead.

Examples:

    berth store status
    berth store status --output json`
}

// Run shows the backend and the number of sessions.
func (c *storeStatusCmd) Run(ctx context.Context, std *stdio, cfg config.Config) error {
	status, err := storage.Inspect(ctx, cfg, storeLog(std))
	if err != nil {
		return err
	}
	fields := [][2]string{{"backend", status.Backend}, {"sessions", strconv.Itoa(status.Total)}}
	for _, s := range session.Statuses() {
		fields = append(fields, [2]string{string(s), strconv.Itoa(status.Sessions[s])})
	}
	if db := status.DatabaseStatus; db != nil {
		fields = append(
			fields, [2]string{"size", db.Size}, [2]string{"schema version", strconv.FormatInt(db.SchemaVersion, 10)},
			[2]string{"imports", strconv.Itoa(len(db.Imports))}, [2]string{"pending", strconv.Itoa(status.Pending)},
		)
	} else {
		fields = append(fields, [2]string{"file", status.File})
	}
	return c.print(std, status, fields)
}
