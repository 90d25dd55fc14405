package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"berth/internal/doctor"
	"berth/internal/guard"
	"berth/internal/storage"
)

type doctorCmd struct {
	configFlags
	Output  string        `short:"o" enum:"table,json,sarif" default:"table" help:"Form of the output: ${enum}."`
	Compose []string      `placeholder:"PATH" help:"Compose file to check, or a directory of compose files. Repeatable. Default: the working directory."`
	Fix     bool          `help:"First correct the modes of certificates, keys and their directory. Nothing else is changed."`
	Timeout time.Duration `default:"20s" placeholder:"TIME" help:"Time-out of one check. Default: ${default}."`
	Socket  string        `env:"BERTH_GUARD_SOCKET" placeholder:"FILE" help:"The engine's own socket, which must not be mounted in a container (BERTH_GUARD_SOCKET). Default: /var/run/docker.sock and other usual paths."`
}

// Help is shown by berth doctor --help.
func (doctorCmd) Help() string {
	return `Runs the security checklist with the settings of "berth serve": certificates and their modes, socket mounts
in compose files and running containers, settings, the TLS connection, routes to sessions, limits, rotation, firewall, the
engine's options, logging. Each item passes, warns, fails, or is skipped when it cannot be checked from here; every finding
has a stable code, the observation, and what to do about it. Run it where Berth runs and, as root, where the engine runs: some
checks are possible on one of the two machines only.

The exit code is 1 if an item fails; warnings do not count. SARIF 2.1.0 is for code scanning tools.

Examples:

    berth doctor
    berth doctor --fix
    berth doctor --compose compose.yaml --output sarif > doctor.sarif`
}

// Run runs the checks.
func (c *doctorCmd) Run(ctx context.Context, std *stdio) error {
	// One check reports the faults of the settings; the others use the settings that are valid.
	cfg, configErr := c.ProvideConfig(std)
	options, done := doctor.FromConfig(cfg)
	defer done()
	options.ConfigErr, options.ComposePaths, options.Sockets = configErr, c.Compose, []string{c.Socket, guard.DefaultSocket}
	options.Instance, options.Credentials = storage.InstanceOf(cfg.Server.StateDir), std.Getenv("CREDENTIALS_DIRECTORY")
	options.LookupEnv = std.lookupEnv
	var fixErr error
	if c.Fix {
		var changes []string
		changes, fixErr = doctor.Fix(ctx, options, doctor.Checks())
		for _, change := range changes {
			std.progress("corrected %s", change)
		}
	}
	report, err := doctor.Run(ctx, options, doctor.Checks(), c.Timeout)
	if err != nil {
		return errors.Join(fixErr, err)
	}
	switch c.Output {
	case "json":
		err = writeJSON(std.Out, report)
	case "sarif":
		err = writeJSON(std.Out, report.SARIF(version()))
	default:
		err = writeDoctor(std.Out, report)
	}
	if err == nil && report.Status == doctor.Fail {
		err = withHint(fmt.Errorf("%d of %d items of the checklist failed", report.Counts[doctor.Fail], len(report.Results)),
			"each failure above says what to do about it")
	}
	return errors.Join(fixErr, err)
}

// writeDoctor prints a report as text: a line for each finding, then the remedies.
func writeDoctor(w io.Writer, r doctor.Report) error {
	rows := [][]string{{"ITEM", "CHECK", "STATUS", "CODE", "SEEN"}}
	for _, result := range r.Results {
		number, check := strconv.Itoa(result.Item), result.Check
		for _, f := range result.Findings {
			seen := f.Seen
			if f.Line > 0 {
				seen = fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Seen)
			}
			rows = append(rows, []string{number, check, string(f.Status), f.Code, seen})
		}
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	for _, result := range r.Results {
		for _, f := range result.Findings {
			if f.Remedy == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "\n%d %s (%s): %s\n", result.Item, f.Status, f.Code, printable(f.Remedy)); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "\n%d passed, %d with warnings, %d failed, %d skipped\n",
		r.Counts[doctor.Pass], r.Counts[doctor.Warn], r.Counts[doctor.Fail], r.Counts[doctor.Skipped])
	return err
}
