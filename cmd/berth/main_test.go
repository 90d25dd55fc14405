package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"berth/internal/config"
	"berth/internal/session"
)

// waitVariable turns this test binary into a program that waits for signals.
const waitVariable = "BERTH_TEST_WAIT_FOR_SIGNALS"

// waitForSignals prints the first signal and never returns: only the second signal ends the process.
func waitForSignals() {
	ctx, _ := untilSignal(context.Background())
	fmt.Println("waiting")
	<-ctx.Done()
	fmt.Println(context.Cause(ctx))
	select {}
}

func TestFirstSignalCancelsAndSecondKillsProcess(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), waitVariable+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for _, want := range []string{"waiting", fmt.Sprintf("received the signal %q", signal)} {
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("%v: got %q, want %q", signal, lines.Text(), want)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
		err = cmd.Wait()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != signal {
			t.Errorf("second %v: ended with %v, want to be killed by it", signal, err)
		}
	}
}

func TestExitCodeFollowsErrorCode(t *testing.T) {
	t.Parallel()
	failure := session.Errorf(session.CodeLimit, "full")
	for name, tc := range map[string]struct {
		err  error
		want int
	}{
		"success":             {nil, 0},
		"other error":         {errors.New("x"), 1},
		"start failed":        {session.Errorf(session.CodeStartFailed, "x"), 1},
		"usage":               {usageError(errors.New("x")), 2},
		"settings":            {&config.FaultsError{Faults: []config.Fault{{Variable: "X"}}}, 2},
		"wrapped settings":    {withHint(&config.FaultsError{Faults: []config.Fault{{Variable: "X"}}}, "read"), 2},
		"not found":           {fmt.Errorf("show: %w", session.NotFound("x")), 3},
		"image not found":     {session.Errorf(session.CodeImageNotFound, "x"), 3},
		"limit":               {failure, 4},
		"limit with a hint":   {withHint(failure, "remove one"), 4},
		"hint around usage":   {withHint(usageError(failure), "read"), 2},
		"conflict":            {session.Stale("x"), 4},
		"unauthorized":        {session.Errorf(session.CodeUnauthorized, "x"), 5},
		"engine unavailable":  {session.Errorf(session.CodeEngineUnavailable, "x"), 6},
		"connection refused":  {fmt.Errorf("get: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 6},
		"connection ended":    {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, 1},
		"joined with another": {errors.Join(errors.New("x"), failure), 4},
	} {
		if got := exitCode(tc.err); got != tc.want {
			t.Errorf("%s: got exit code %d, want %d", name, got, tc.want)
		}
	}
}

func TestReportPrintsHintOnSeparateLine(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	report(&b, withHint(errors.New("no\x1b[2J\r way"), "try %s", "again"))
	if got, want := b.String(), "berth: no\\x1b[2J\\x0d way\nhint: try again\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Reset()
	report(&b, usageError(withHint(errors.New("x"), "read")))
	if got, want := b.String(), "berth: x\nhint: read\n"; got != want {
		t.Errorf("hint inside an error without one: got %q, want %q", got, want)
	}
	b.Reset()
	report(&b, nil)
	if b.Len() != 0 {
		t.Errorf("no error: got %q, want nothing", b.String())
	}
}

func TestTableIsAlignedAndEscaped(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	err := writeTable(&b, [][]string{{"SESSION", "ERROR"}, {"ses-1", ""}, {"ses-22222", "a\tb\nc\x1b[2J"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "SESSION     ERROR\nses-1       -\nses-22222   a b c\\x1b[2J\n"
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFormatFlagSelectsTableOrJSON(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{"table": "a   1\n", "json": "{\n  \"a\": 1\n}\n"} {
		var b bytes.Buffer
		f := format{Output: output}
		err := f.print(&stdio{Out: &b}, map[string]int{"a": 1}, [][2]string{{"a", "1"}})
		if err != nil || b.String() != want {
			t.Errorf("%s: got %q, %v; want %q", output, b.String(), err, want)
		}
	}
}

func TestGetenvReturnsLastDuplicate(t *testing.T) {
	t.Parallel()
	std := &stdio{Environ: []string{"A=1", "AB=2", "A=3"}}
	if got := std.Getenv("A") + std.Getenv("AB") + std.Getenv("B"); got != "32" {
		t.Errorf("A, AB and B: got %q, want 3, 2 and nothing", got)
	}
}

// TestEveryCommandHasHelp walks the whole tree, so that a command without help cannot be added.
func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	for _, path := range leaves(t) {
		var out, errs bytes.Buffer
		args := append(strings.Fields(path), "--help")
		if code := run(args, &stdio{Out: &out, Err: &errs}); code != 0 || !strings.Contains(out.String(), "Usage: berth "+path) {
			t.Errorf("berth %s --help: exit code %d, output %q, errors %q", path, code, out.String(), errs.String())
		}
	}
}

// leaves lists the commands without subcommands, as the completion reports them.
func leaves(t *testing.T) []string {
	t.Helper()
	var all []string
	var walk func(path string)
	walk = func(path string) {
		var out, errs bytes.Buffer
		args := append([]string{"__complete", "--"}, append(strings.Fields(path), "")...)
		if code := run(args, &stdio{Out: &out, Err: &errs}); code != 0 {
			t.Fatalf("complete %q: exit code %d: %s", path, code, errs.String())
		}
		isLeaf := true
		for line := range strings.Lines(out.String()) {
			if name, help, described := strings.Cut(strings.TrimSpace(line), "\t"); described {
				isLeaf = false
				if help == "" {
					t.Errorf("berth %s %s has no help", path, name)
				}
				walk(strings.TrimSpace(path + " " + name))
			}
		}
		if isLeaf {
			all = append(all, path)
		}
	}
	walk("")
	if len(all) < 5 {
		t.Fatalf("found the commands %q only", all)
	}
	return all
}

func TestConfirmAcceptsOnlyYes(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"y\n": true, " YES \n": true, "yes": false, "n\n": false, "\n": false, "": false, "yep\n": false} {
		var asked strings.Builder
		std := &stdio{In: strings.NewReader(answer), Err: &asked}
		if got := std.confirm("Go on?"); got != want || asked.String() != "Go on? [y/N] " {
			t.Errorf("answer %q to %q: %v, want %v", answer, asked.String(), got, want)
		}
	}
}
