// Command berth is the command line of Berth. It parses, calls and prints; it knows no rule of the product.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"berth/internal/telemetry"
)

// stdio is the standard streams and the environment of a command.
type stdio struct {
	In      io.Reader
	Out     io.Writer // results
	Err     io.Writer // errors, warnings, progress
	Environ []string  // as os.Environ gives it
}

// Getenv is the value of an environment variable; "" when it is not set.
func (s *stdio) Getenv(name string) string {
	value, _ := s.lookupEnv(name)
	return value
}

// lookupEnv is os.LookupEnv for the command's own environment.
func (s *stdio) lookupEnv(name string) (string, bool) {
	for i := len(s.Environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(s.Environ[i], name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// isJournal reports whether standard error goes to systemd's journal.
func (s *stdio) isJournal() bool { return telemetry.IsJournal(s.Err, s.Getenv("JOURNAL_STREAM")) }

// isTerminal reports whether standard input is a terminal.
func (s *stdio) isTerminal() bool {
	f, ok := s.In.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks a yes-no question. Every answer but yes is a no.
func (s *stdio) confirm(question string) bool {
	_, _ = fmt.Fprintf(s.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(s.In).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "y" || answer == "yes")
}

// progress prints a progress message to standard error.
func (s *stdio) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(s.Err, "berth: "+format+"\n", args...)
}

func main() {
	os.Exit(run(os.Args[1:], &stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}))
}

// run is the whole program: it executes one command line and returns the exit code.
func run(args []string, std *stdio) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	err := execute(ctx, args, std)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	std.report(err)
	return exitCode(err)
}

// report prints an error and its hint. In systemd's journal every line is an entry of its own, so every line gets the
// priority of an error.
func (s *stdio) report(err error) {
	if err == nil || !s.isJournal() {
		report(s.Err, err)
		return
	}
	var text strings.Builder
	report(&text, err)
	for line := range strings.Lines(text.String()) {
		_, _ = io.WriteString(s.Err, telemetry.PriorityError+line)
	}
}

// untilSignal returns a context that the first SIGINT or SIGTERM cancels, with the signal as its cause. The second one has
// its default effect and kills the process.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(fmt.Errorf("received the signal %q", s))
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		<-done
	}
}
