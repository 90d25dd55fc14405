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

// stdio is the outer world of a command.
type stdio struct {
	In      io.Reader
	Out     io.Writer // what was asked for
	Err     io.Writer // everything else
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

// isTerminal reports whether a person can be asked.
func (s *stdio) isTerminal() bool {
	f, ok := s.In.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks a person a question. Anything but yes is no.
func (s *stdio) confirm(question string) bool {
	_, _ = fmt.Fprintf(s.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(s.In).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "y" || answer == "yes")
}

// progress tells a waiting person what is being done.
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

// report prints an error and its hint. In systemd's journal every line is an entry of its own, so every line says that it
// tells of an error.
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

// untilSignal returns a context that the first SIGINT or SIGTERM ends, with the signal as its cause. The second one
// kills the process, as if nobody listened.
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
