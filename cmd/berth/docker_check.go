package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"berth/internal/config"
	"berth/internal/doctor"
	"berth/internal/doctor/connection"
)

type dockerTestCmd struct {
	configFlags
	format
	Host       string        `short:"H" placeholder:"ENDPOINT" help:"Engine to test, tcp://host:port (DOCKER_HOST)."`
	ServerName string        `placeholder:"NAME" help:"Name that the engine's certificate must be valid for. Default: the host's."`
	ServerCert string        `placeholder:"FILE" help:"File that the engine's certificate was installed from. Default: server-cert.pem beside the client's, if it exists."`
	Deep       bool          `help:"Create a temporary container, without starting it, and remove it."`
	Image      string        `placeholder:"IMAGE" help:"Image of that container. Default: any that is on the engine."`
	Timeout    time.Duration `default:"10s" placeholder:"TIME" help:"Time-out of one step. Default: ${default}."`
}

// Help is shown by berth docker test --help.
func (dockerTestCmd) Help() string {
	return `Tests the connection to the engine with the settings of "berth serve": name, port, TLS 1.3 handshake, both certificates, the
API, and that clients with no certificate or one of another authority are refused. Every step passes, warns, fails or is
skipped, with a stable code, the cause, and what to do about it. The days left are those of the certificate that the engine
has loaded: dockerd reads a renewed one at its next start.

Nothing is changed on the engine unless --deep is given.

Exit codes: 0 no failure, perhaps warnings; 1 a failure of TLS, a certificate or the engine; 2 invalid settings;
5 the engine refuses our certificate or our request; 6 the engine cannot be reached.

Examples:

    berth docker test
    berth docker test --deep --image alpine
    berth docker test -H tcp://10.0.0.5:2376 --output json`
}

// checkExits are the exit codes of causes that do not end in exitFailure.
var checkExits = map[connection.Code]int{
	connection.NameUnknown:       exitUnavailable,
	connection.ResolverFailed:    exitUnavailable,
	connection.ConnectionRefused: exitUnavailable,
	connection.ConnectionTimeout: exitUnavailable,
	connection.NoRoute:           exitUnavailable,
	connection.ConnectionFailed:  exitUnavailable,
	connection.HandshakeTimeout:  exitUnavailable,
	connection.HandshakeClosed:   exitUnavailable,
	connection.NoAnswer:          exitUnavailable,
	connection.ClosedUnanswered:  exitUnavailable,
	connection.EngineAway:        exitUnavailable,
	connection.ClientRefused:     exitAuth,
	connection.Denied:            exitAuth,
}

// Run tests the connection to the engine.
func (c *dockerTestCmd) Run(ctx context.Context, std *stdio) error {
	cfg, err := c.settings(std)
	if err != nil {
		return err
	}
	options := doctor.ConnectionOptions(cfg)
	options.ServerName, options.Deep, options.Image, options.Timeout = c.ServerName, c.Deep, c.Image, c.Timeout
	options.ServerCert = cmp.Or(c.ServerCert, options.ServerCert)
	report, err := connection.Run(ctx, options)
	switch {
	case errors.Is(err, connection.ErrNoTLS):
		return withHint(usageError(err), "give the engine's TLS port with --host, such as tcp://127.0.0.1:2376")
	case err != nil:
		return usageErrorUnlessEnded(ctx, err)
	}
	if c.Output == "json" {
		err = writeJSON(std.Out, report)
	} else {
		err = writeCheck(std.Out, report)
	}
	if err != nil {
		return err
	}
	return checkError(report)
}

// settings are those of the environment, with the host of the flag.
func (c *dockerTestCmd) settings(std *stdio) (config.Config, error) {
	if c.Host != "" {
		set := map[string]string{"DOCKER_HOST": c.Host}
		for name, value := range c.Set {
			set[name] = value
		}
		c.Set = set
	}
	return c.ProvideConfig(std)
}

// usageErrorUnlessEnded marks an error of the options as a usage error, unless ctx is done.
func usageErrorUnlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return usageError(err)
}

// checkError is the first failure, as the error of the command.
func checkError(report connection.Report) error {
	failure, ok := report.FirstFailure()
	if !ok {
		return nil
	}
	code := cmp.Or(checkExits[failure.Code], exitFailure)
	return &commandError{code: code, hint: failure.Remedy, err: fmt.Errorf("%s: %s", failure.Code, failure.Detail)}
}

// writeCheck prints a report as text: the steps, the remedies of warnings and failures, and the findings.
func writeCheck(w io.Writer, r connection.Report) error {
	rows := [][]string{{"STEP", "STATUS", "CODE", "MS", "DETAIL"}}
	for _, s := range r.Steps {
		rows = append(rows, []string{s.Name, string(s.Status), string(s.Code), fmt.Sprintf("%.1f", s.DurationMS), s.Detail})
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	first, _ := r.FirstFailure()
	for _, s := range r.Steps {
		// The first failure's remedy is the hint of the command's error.
		if s.Remedy == "" || s.Name == first.Name {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%s (%s): %s\n", s.Name, s.Code, printable(s.Remedy)); err != nil {
			return err
		}
	}
	facts := [][]string{}
	add := func(name string, values ...string) {
		if text := strings.TrimSpace(strings.Join(values, " ")); text != "" {
			facts = append(facts, []string{name, text})
		}
	}
	add("ENGINE", r.Host, r.Engine)
	add("TLS", r.TLSVersion, r.Cipher)
	if l := r.Latency; l.ConnectMS > 0 {
		add("LATENCY", fmt.Sprintf("connect %.1f ms, handshake %.1f ms, ping %.1f ms", l.ConnectMS, l.HandshakeMS, l.PingMS))
	}
	for _, c := range []struct {
		name string
		cert *connection.Certificate
	}{{"LOADED CERTIFICATE", r.Server}, {"CLIENT CERTIFICATE", r.Client}, {"AUTHORITY", r.Authority}} {
		if c.cert != nil {
			add(c.name, fmt.Sprintf("%s, %d days left (%s)", c.cert.Subject, c.cert.DaysLeft, c.cert.NotAfter.Format(time.DateOnly)))
		}
	}
	if r.Server != nil {
		add("PIN", r.Server.Pin)
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return writeTable(w, facts)
}
