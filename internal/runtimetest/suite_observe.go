package runtimetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"berth/internal/session"
)

var observationParts = []part{
	{"inspect of a missing container is not found", inspectNothing},
	{"list shows every state", listShowsAll},
	{"list shows this installation only", listIsOurs},
	{"logs merge both streams and can be cut", logsMerge},
	{"logs that are followed end when the container stops", logsFollow},
	{"logs that are followed end with their context", logsFollowContext},
	{"logs of a missing container are not found", logsNothing},
	{"stats measure a running container", statsMeasure},
	{"stats of a stopped container are refused", statsNotRunning},
	{"events report a container's states", eventsReported},
	{"ping answers", func(w *fixture) { w.must(w.Runtime.Ping(w.call()), "ping") }},
}

func inspectNothing(w *fixture) {
	_, err := w.Runtime.Inspect(w.call(), w.spec("").Name)
	w.mustFail(err, session.CodeNotFound, "inspect", "there is no such container")
}

func listShowsAll(w *fixture) {
	created, _ := w.create("")
	running, _ := w.running()
	exited, c := w.running()
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	removed, c := w.create("")
	w.must(w.Runtime.Remove(w.call(), c.ID, false), "remove")

	all, err := w.Runtime.List(w.call())
	w.must(err, "list")
	byName := map[string]session.Container{}
	for _, c := range all {
		if _, twice := byName[c.Name]; twice {
			w.Errorf("%s is listed twice", c.Name)
		}
		byName[c.Name] = c
	}
	for spec, want := range map[*session.Spec]session.State{
		&created: session.StateStopped, &running: session.StateRunning, &exited: session.StateStopped, &removed: "",
	} {
		got := byName[spec.Name]
		if got.State != want {
			w.Errorf("%s: got state %q, want %q", spec.Name, got.State, want)
		}
		if ran := spec != &created && want != ""; ran == got.StartedAt.IsZero() {
			w.Errorf("%s: started at %v, want a time only where it ran", spec.Name, got.StartedAt)
		}
		if want != "" && (got.Session != spec.Session || got.ID == "" || got.CreatedAt.IsZero()) {
			w.Errorf("%s: got %+v, want its ID, session %s and time of creation", spec.Name, got, spec.Session)
		}
		if (got.Address != "") != (want == session.StateRunning) {
			w.Errorf("%s: got address %q in state %q, want one only while it runs", spec.Name, got.Address, want)
		}
	}
}

func listIsOurs(w *fixture) {
	if w.Other == nil {
		w.Skip("this engine has one installation only")
	}
	spec, _ := w.create("")
	theirs, err := w.Other.List(w.call())
	w.must(err, "list of the other installation")
	for _, c := range theirs {
		if c.Name == spec.Name {
			w.Errorf("the other installation lists %s, want it to see its own containers only", c.Name)
		}
	}
}

// logs reads a log to its end.
func (w *fixture) logs(ref string, opts session.LogOptions) string {
	w.Helper()
	logs, err := w.Runtime.Logs(w.call(), ref, opts)
	w.must(err, "logs")
	text, err := io.ReadAll(logs)
	w.must(err, "read the logs")
	w.must(logs.Close(), "close the logs")
	return string(text)
}

const (
	stdoutText = "start on" // in a line of the server's standard output
	stderrText = "mode"     // in a line of its standard error
)

func logsMerge(w *fixture) {
	spec, c := w.running()
	var text string
	w.poll("both streams are in the log", readyWithin, func() error {
		text = w.logs(spec.Name, session.LogOptions{})
		if !strings.Contains(text, stdoutText) || !strings.Contains(text, stderrText) {
			return errors.New("the log is " + text)
		}
		return nil
	})
	for _, r := range text {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			w.Errorf("got control character %q in %q, want plain text", r, text)
			break
		}
	}
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	whole := w.logs(spec.Name, session.LogOptions{})
	if !strings.Contains(whole, stdoutText) {
		w.Errorf("got %q after the stop, want the earlier output as well", whole)
	}
	last := w.logs(spec.Name, session.LogOptions{Tail: 1})
	if strings.Count(last, "\n") > 1 || strings.TrimSpace(last) == "" || !strings.HasSuffix(whole, last) {
		w.Errorf("got %q as the last line of %q", last, whole)
	}
	if all := w.logs(spec.Name, session.LogOptions{Tail: 1000}); all != whole {
		w.Errorf("got %q for more lines than there are, want all of %q", all, whole)
	}
}

func logsFollow(w *fixture) {
	spec, c := w.running()
	logs, err := w.Runtime.Logs(w.call(), spec.Name, session.LogOptions{Follow: true})
	w.must(err, "logs")
	defer logs.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(logs, first); err != nil {
		w.Fatalf("read the start of the log: %v", err)
	}
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	rest := make(chan error, 1)
	var text []byte
	go func() {
		var err error
		text, err = io.ReadAll(logs)
		rest <- err
	}()
	select {
	case err := <-rest:
		w.must(err, "read the rest of the log")
		if !strings.Contains(string(first)+string(text), "stop") {
			w.Errorf("got %q, want the server's final log line in it", text)
		}
	case <-time.After(readyWithin):
		_ = logs.Close()
		w.Fatalf("the log did not end within %s of the container's end", readyWithin)
	}
}

func logsFollowContext(w *fixture) {
	spec, _ := w.running()
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	logs, err := w.Runtime.Logs(ctx, spec.Name, session.LogOptions{Follow: true})
	w.must(err, "logs")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, logs) // any error will do
	}()
	cancel()
	select {
	case <-ended:
	case <-time.After(readyWithin):
		w.Errorf("the log did not end within %s of its context's end", readyWithin)
	}
	_ = logs.Close()
	<-ended
}

func logsNothing(w *fixture) {
	_, err := w.Runtime.Logs(w.call(), w.spec("").Name, session.LogOptions{})
	w.mustFail(err, session.CodeNotFound, "logs", "there is no such container")
}

func statsMeasure(w *fixture) {
	spec, c := w.running()
	stats, err := w.Runtime.Stats(w.call(), c.ID)
	w.must(err, "stats")
	if stats.Memory <= 0 || stats.CPU < 0 || stats.PIDs < 0 {
		w.Errorf("got %+v, want the memory and the processor time of a server that runs", stats)
	}
	if stats.MemoryLimit != 0 && stats.MemoryLimit != spec.Limits.Memory {
		w.Errorf("got limit %s, want %s or none", stats.MemoryLimit, spec.Limits.Memory)
	}
}

func statsNotRunning(w *fixture) {
	_, c := w.create("")
	_, err := w.Runtime.Stats(w.call(), c.ID)
	w.mustFail(err, session.CodeNotRunning, "stats", notRun)
	_, err = w.Runtime.Stats(w.call(), w.spec("").Name)
	w.mustFail(err, session.CodeNotFound, "stats", "there is no such container")
}

// eventsReported selects one container's events from those of all that run at the same time.
func eventsReported(w *fixture) {
	ctx, cancel := context.WithCancel(w.Context())
	events := make(chan session.RuntimeEvent, 1024)
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- w.Runtime.Watch(ctx, func() { close(ready) }, func(e session.RuntimeEvent) { events <- e })
	}()
	defer func() {
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				w.Errorf("watch: got %v, want context.Canceled in its chain: its context has ended", err)
			}
		case <-time.After(readyWithin):
			w.Errorf("watch did not end within %s of its context", readyWithin)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		w.Fatalf("watch ended before it was ready: %v", err)
	case <-time.After(readyWithin):
		w.Fatalf("watch was not ready within %s", readyWithin)
	}

	spec, c := w.create("")
	expect := func(action session.Action, code int) {
		w.Helper()
		late := time.After(eventWithin)
		for {
			select {
			case e := <-events:
				if e.Name != spec.Name || e.Action != action {
					continue
				}
				if e.Container != c.ID || e.Session != spec.Session || e.ExitCode != code || e.Time.IsZero() {
					w.Errorf("got %+v, want container %s, session %s, exit code %d and a time", e, c.ID, spec.Session, code)
				}
				return
			case <-late:
				w.Fatalf("no %s event within %s", action, eventWithin)
			}
		}
	}
	expect(session.ActionCreated, 0)
	w.must(w.Runtime.Start(w.call(), c.ID), "start")
	expect(session.ActionStarted, 0)
	w.exit(w.ready(spec), spec, 7)
	expect(session.ActionEnded, 7)
	w.exited(spec.Name)
	w.must(w.Runtime.Remove(w.call(), c.ID, false), "remove")
	expect(session.ActionRemoved, 0)
}
