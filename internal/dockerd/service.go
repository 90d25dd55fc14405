package dockerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"berth/internal/fileset"
)

const serviceUnit = "docker.service"

// RefusedError is a set-up that was not begun: nothing has been changed.
type RefusedError struct {
	Err    error
	Advice string // what to do about it, one sentence; may be empty
}

// Error is the reason.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// Hint is what to do about it.
func (e *RefusedError) Hint() string { return e.Advice }

func refuse(advice, format string, args ...any) error {
	return &RefusedError{Err: fmt.Errorf(format, args...), Advice: advice}
}

func (s *Setup) hasSystemd() bool { return fileset.Exists(s.paths.systemd) }

// restarts names what will restart the engine.
func (s *Setup) restarts() (string, error) {
	switch {
	case s.opts.RestartCommand != "":
		return "the given command", nil
	case s.hasSystemd():
		return "systemd", nil
	case fileset.Exists(s.paths.script):
		return "its service script", nil
	default:
		return "", refuse("give the command that restarts the engine with --restart-command",
			"neither systemd nor %s is here to restart the engine", s.paths.script)
	}
}

// restart restarts the engine, or starts it. That it answers afterwards is seen elsewhere.
func (s *Setup) restart(ctx context.Context) error {
	if s.opts.RestartCommand != "" {
		_, err := s.host.Run(ctx, "sh", "-c", s.opts.RestartCommand)
		return err
	}
	if s.hasSystemd() {
		// Several restarts in a minute are more than the unit allows. There may be no failure to forget.
		_, _ = s.host.Run(ctx, "systemctl", "reset-failed", serviceUnit)
		_, err := s.host.Run(ctx, "systemctl", "restart", serviceUnit)
		return err
	}
	_, err := s.host.Run(ctx, "service", "docker", "restart")
	return err
}

// stop stops an engine that did not run before. A restart command cannot stop it: it starts the engine with the present
// configuration, as the next boot would, and fails if it did so before.
func (s *Setup) stop(ctx context.Context) error {
	switch {
	case s.opts.RestartCommand != "":
		_, _ = s.host.Run(ctx, "sh", "-c", s.opts.RestartCommand)
		return nil
	case s.hasSystemd():
		_, err := s.host.Run(ctx, "systemctl", "stop", serviceUnit)
		return err
	default:
		_, err := s.host.Run(ctx, "service", "docker", "stop")
		return err
	}
}

func (s *Setup) reloadUnits(ctx context.Context) error {
	if _, err := s.host.Run(ctx, "systemctl", "daemon-reload"); err != nil {
		return fmt.Errorf("let systemd read the drop-in: %w", err)
	}
	return nil
}

// command finds out how the service manager starts the engine, without what this package has added to it.
func (s *Setup) command(ctx context.Context) (command, error) {
	if !s.hasSystemd() {
		data, err := os.ReadFile(s.paths.defaults)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return command{}, fmt.Errorf("read the engine's defaults: %w", err)
		}
		return command{variables: assignments(string(data), "DOCKER_OPTS")}, nil
	}
	cat, err := s.host.Run(ctx, "systemctl", "cat", serviceUnit)
	if err != nil {
		return command{}, refuse("install the engine, or give the command that restarts it with --restart-command",
			"read the unit %s: %w", serviceUnit, err)
	}
	u := parseUnit(cat, s.paths.dropIn)
	if len(u.start) != 1 {
		return command{}, refuse("", "the unit %s has %d commands to start the engine, want one", serviceUnit, len(u.start))
	}
	var c command
	if c.line, err = words(u.start[0]); err != nil {
		return command{}, fmt.Errorf("read ExecStart of %s: %w", serviceUnit, err)
	}
	sources := strings.Join(u.environment, "\n")
	for _, file := range u.environments {
		data, err := os.ReadFile(s.host.path(strings.TrimPrefix(file, "-")))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return command{}, fmt.Errorf("read the environment of %s: %w", serviceUnit, err)
		}
		sources += "\n" + string(data)
	}
	for _, name := range references(c.line) {
		c.variables = append(c.variables, assignments(sources, name)...)
	}
	return c, nil
}

var reference = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?`)

// references are the names of the variables on a command line.
func references(line []word) []string {
	var names []string
	for _, w := range line {
		for _, m := range reference.FindAllStringSubmatch(w.text, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// assignments are the values that a variable is given in a file of assignments, of a shell or of systemd, without quotes
// around them.
func assignments(text, name string) []string {
	var values []string
	for line := range strings.Lines(text) {
		line = strings.Trim(strings.TrimSpace(line), `"`)
		line = strings.TrimPrefix(line, "export ")
		if value, found := strings.CutPrefix(line, name+"="); found {
			values = append(values, strings.Trim(value, `"'`))
		}
	}
	return values
}

// engine is the program's path.
func (c command) engine() string {
	if p := program(c.line); p != "" {
		return p
	}
	return "dockerd"
}

// flags are the long flags that the engine gets besides daemon.json once ours are gone from its command line. A variable
// that holds one of ours is refused: the file in which it stands is not ours to change.
func (c command) flags() ([]string, error) {
	rest, _ := strip(c.line)
	flags := longFlags(rest)
	for _, value := range c.variables {
		line, err := words(value)
		if err != nil {
			return nil, fmt.Errorf("read the engine's options %q: %w", value, err)
		}
		rest, _ := strip(line)
		if len(rest) != len(line) {
			return nil, refuse("remove --host and --tls… from there: daemon.json takes their place",
				"the engine's options in its environment (DOCKER_OPTS) say where it listens: %s", value)
		}
		flags = append(flags, longFlags(rest)...)
	}
	return flags, nil
}
