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
	Import storeImportCmd `cmd:"" help:"Add a file's sessions to the store."`
	Export storeExportCmd `cmd:"" help:"Write every session to a file."`
	Status storeStatusCmd `cmd:"" help:"Say where the sessions are, and how many."`
	Adopt  storeAdoptCmd  `cmd:"" help:"Bring back sessions that the engine has and the store has lost."`
}

// storeLog is where the store says what its callers are not told: standard error.
func storeLog(std *stdio) *slog.Logger {
	return slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type storeImportCmd struct {
	format
	configFlags
	Source string `arg:"" name:"file" help:"File to read; - is standard input."`
	DryRun bool   `help:"Say what would happen and change nothing."`
}

// Help is shown by berth store import --help.
func (storeImportCmd) Help() string {
	return `Adds the sessions of a file to the store that the settings name: the database with USE_DATABASE_STORAGE=true, else the file in
the state directory, which no Berth may have open meanwhile. It reads what "berth store export" has written, and files of the
service before Berth, whose tokens become digests. A session that is there already, in the same or a newer version, stays as
it is; the same file may be imported again. What cannot be read is kept aside in the state directory and named.

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
		return withHint(err, "they are in %s: mend and import them", report.RejectedFile)
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
	Output string `short:"o" default:"-" placeholder:"FILE" help:"File to write, for its owner only; - is standard output."`
	Force  bool   `help:"Replace a file that is there already."`
}

// Help is shown by berth store export --help.
func (storeExportCmd) Help() string {
	return `Writes every session in the form of the file in the state directory: a backup, or the way from the database back to the file.
It holds digests of tokens, and no tokens.

Examples:

    berth store export --output backup.json
    USE_DATABASE_STORAGE=true berth store export --output /var/lib/berth/sessions.json`
}

// Run exports.
func (c *storeExportCmd) Run(ctx context.Context, std *stdio, cfg config.Config) error {
	if c.Output != "-" && !c.Force {
		if _, err := os.Lstat(c.Output); err == nil {
			return withHint(session.Errorf(session.CodeConflict, "%s is there already", c.Output), "choose another file, or --force")
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

// write writes the file. One that comes to be in the state directory is for the user that Berth runs as.
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
	return `Looks at the store itself and writes nothing into the file. A Berth that serves has its file open, so that this works on a database
only then; ask GET /health instead.

Examples:

    berth store status
    berth store status --output json`
}

// Run shows where the sessions are.
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
