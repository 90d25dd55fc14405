package lifecycle

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/internal/session"
)

//go:generate go test -count=1 -run ^TestLifecyclePageIsCurrent$ . -update

var update = flag.Bool("update", false, "renew docs/lifecycle.md")

// page is the generated page.
var page = filepath.Join("..", "..", "docs", "lifecycle.md")

const pageBegin = `# The life of a session

<!-- Generated from internal/lifecycle/decide.go by go generate ./internal/lifecycle. Do not edit. -->

The pure function ` + "`Decide`" + ` decides what happens to a session. Commands, reconciliation, health checks and the takeover of
interrupted operations all call it and carry out its decision. The tables below are generated from its results. A test calls it
with every combination of its inputs and checks the invariants.

A session has a *status* (creating, running, stopped, error) and, while an operation is in progress, an *operation* with an owner
and a deadline. A recorded operation is in one of these states:

- **held**: this process or another live process runs it;
- **abandoned**: its process has ended, or has exceeded the time allowed;
- **to retry**: a stop or delete that has failed and whose retry is due. Before it is due, nothing is done without a command, and
  commands are decided as when it is due.

Verdicts:

| Verdict | Meaning |
|---|---|
| begin | the operation is recorded, then carried out |
| preempt | as begin; the operation in progress is cancelled and changes nothing any more |
| refuse | the caller gets an error, and nothing changes |
| keep | nothing is done: the record is correct, or work on it is in progress |
| resume X | operation X, which was recorded before or follows from the record, is carried out without a new command |
| adopt | the observed address of the server is recorded and published to the proxy |
| probe server, find cause | the decision depends on the result; see the other columns |
| restart | the session is in error; it is restarted after a delay |
| fail | the session is in error until a command |
| recover | the session was stopped by the engine; it is started again when the engine is available |
| stop | the container is stopped, the record is kept |
| wait | another instance may have been requested to do this; nothing is done until it is reachable |

`

func TestLifecyclePageIsCurrent(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(pageBegin)
	commandTable(&b)
	observationTable(&b)
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || string(text) != b.String() {
		t.Errorf("docs/lifecycle.md does not show the decisions (%v): run go generate ./internal/lifecycle", err)
	}
}

// state is a row of the tables.
type state struct {
	name   string
	record session.Session
	holder Holder
}

func states() []state {
	var all []state
	add := func(name string, status session.Status, reason session.StopReason, kind session.Kind, holder Holder) {
		s := session.Session{
			ID: "ses-x", Status: status, StopReason: reason, CreatedAt: decideNow.Add(-3 * time.Hour), LastAccessed: decideNow,
			Operation: recorded(kind, holder),
		}
		all = append(all, state{name, s, holder})
	}
	add("running", session.Running, "", "", NoOperation)
	add("stopped by a command, or as too large", session.Stopped, "", "", NoOperation)
	add("stopped as idle", session.Stopped, session.StopIdle, "", NoOperation)
	add("stopped by the engine", session.Stopped, session.StopEngine, "", NoOperation)
	add("error", session.Error, "", "", NoOperation)
	add("creating, create held", session.Creating, "", session.OpCreate, HeldByOther)
	add("creating, create abandoned", session.Creating, "", session.OpCreate, Abandoned)
	for _, kind := range []session.Kind{session.OpStart, session.OpRestart, session.OpUpgrade, session.OpStop, session.OpDelete} {
		add(fmt.Sprintf("any, %s held", kind), session.Error, "", kind, HeldByOther)
		add(fmt.Sprintf("any, %s abandoned", kind), session.Error, "", kind, Abandoned)
		if kind == session.OpStop || kind == session.OpDelete {
			add(fmt.Sprintf("any, %s to retry", kind), session.Error, "", kind, RetryNow)
		}
	}
	return all
}

func commandTable(b *strings.Builder) {
	columns := []struct {
		name string
		Command
	}{
		{"start", Command{Kind: session.OpStart}},
		{"stop", Command{Kind: session.OpStop}},
		{"restart", Command{Kind: session.OpRestart}},
		{"delete", Command{Kind: session.OpDelete}},
		{"upgrade", Command{Kind: session.OpUpgrade}},
		{"wake", Command{Kind: session.OpStart, Wake: true}},
		{"forced restart", Command{Kind: session.OpRestart, Force: true}},
	}
	b.WriteString("## Commands\n\nA start, restart or upgrade is also refused at the limit of sessions and while the host is short of memory or CPU time, if the\n" +
		"session occupies no slot, and always after the end of the session's lifetime. A command joins an operation of the same kind in\n" +
		"the same process.\n\n| Session |")
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c.name)
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(columns)) + "|\n")
	for _, s := range states() {
		fmt.Fprintf(b, "| %s |", s.name)
		for _, c := range columns {
			d := decideRules.Decide(s.record, Observation{Holder: s.holder}, c.Command, decideNow)
			fmt.Fprintf(b, " %s |", cmp.Or(string(session.CodeOf(d.Refusal)), string(d.Verdict)))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nA code in a cell is the error code of the refusal.\n\n")
}

func observationTable(b *strings.Builder) {
	exited := &Diagnosis{Cause: CauseExited, Failure: session.Errorf(session.CodeNotRunning, "it ended")}
	columns := []struct {
		name string
		Observation
	}{
		{"the container runs", Observation{Container: Up}},
		{"its server works", Observation{Container: Up, Server: Working}},
		{"its server does not work", Observation{Container: Up, Server: NotWorking, Diagnosis: &Diagnosis{Cause: CauseHangs, Failure: session.Errorf(session.CodeUpstream, "it hangs")}}},
		{"its server has no address", Observation{Container: Up, Server: NotWorking, Diagnosis: unreachableDiagnosis()}},
		{"it is paused", Observation{Container: Changing}},
		{"it does not run, or does not exist", Observation{Container: Down}},
		{"its server exited by itself", Observation{Container: Down, Diagnosis: exited}},
		{"the engine stopped it", Observation{Container: Down, Diagnosis: &Diagnosis{Cause: CauseEngine, Failure: session.Errorf(session.CodeNotRunning, "the engine stopped")}}},
		{"another instance may have stopped it", Observation{Container: Absent, OthersUnknown: true, Diagnosis: exited}},
		{"the engine is unavailable", Observation{Container: NotObserved}},
	}
	b.WriteString("## Observations without a command\n\n| Session |")
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c.name)
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(columns)) + "|\n")
	rows := states()
	for _, restarts := range []int{decideRules.MaxRestarts, 1} {
		s := rows[4]
		s.record.RestartCount = restarts
		s.name = fmt.Sprintf("error after %d of %d restarts", restarts, decideRules.MaxRestarts)
		rows = slices.Insert(rows, 5, s)
	}
	for _, s := range rows {
		fmt.Fprintf(b, "| %s |", s.name)
		for _, c := range columns {
			c.Holder = s.holder
			d := decideRules.Decide(s.record, c.Observation, Command{}, decideNow)
			fmt.Fprintf(b, " %s |", strings.TrimSpace(string(d.Verdict)+" "+string(d.Kind)))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nWithout automatic restarts (`CONTAINER_HEALTH_CHECK_INTERVAL=0` or `CONTAINER_MAX_RESTART_ATTEMPTS=0`) the verdict is *fail* for a\n" +
		"server that has exited or has no address, and *keep* for one that does not work: it may still serve some requests.\n")
}
