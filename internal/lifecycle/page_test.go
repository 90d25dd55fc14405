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

// page is where the decisions are shown.
var page = filepath.Join("..", "..", "docs", "lifecycle.md")

const pageBegin = `# The life of a session

<!-- Generated from internal/lifecycle/decide.go by go generate ./internal/lifecycle. Do not edit. -->

One pure function, ` + "`Decide`" + `, says what becomes of a session. It is asked by requests, by the comparison of records and
containers, by the health checks and by whoever takes up the work of a process that has ended; all of them do what it says. The
tables below are printed by asking it. A test asks it in every combination and checks what must hold in all of them.

A session has a *status* (creating, running, stopped, error) and, while something is done to it, an *operation* with an owner and
a deadline. What a process finds recorded, it finds in one of these ways:

- **held**: another operation of this process, or a process that is alive, works on it;
- **left**: its process has ended, or has been seen at it for longer than it may take;
- **to retry**: a stop or delete that failed and whose time has come (before that it is as if it were held by nobody else, and
  commands are obeyed).

What happens:

| Word | Meaning |
|---|---|
| begin | the operation is recorded, then done |
| preempt | as begin; who works on the session gives up and changes nothing any more |
| refuse | the caller is told why, and nothing changes |
| keep | nothing is done: all is as recorded, or on its way |
| resume X | operation X, which was recorded before or follows from what is recorded, is begun without being a new request |
| adopt | the server is where it was found, and is given to the proxy |
| probe server, find cause | the result decides; see the rows below |
| restart, fail | the session is in error; it is started again after a delay, or when somebody does |
| recover | the session was stopped by the engine; it is started again when the engine is available |
| stop | the container is stopped, the record stays |
| wait | another instance may have been asked for this; nothing is done until it can be known |

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
	add("stopped by somebody, or as too large", session.Stopped, "", "", NoOperation)
	add("stopped as idle", session.Stopped, session.StopIdle, "", NoOperation)
	add("stopped by the engine", session.Stopped, session.StopEngine, "", NoOperation)
	add("error", session.Error, "", "", NoOperation)
	add("creating, create held", session.Creating, "", session.OpCreate, HeldByOther)
	add("creating, create left", session.Creating, "", session.OpCreate, Abandoned)
	for _, kind := range []session.Kind{session.OpStart, session.OpRestart, session.OpUpgrade, session.OpStop, session.OpDelete} {
		add(fmt.Sprintf("any, %s held", kind), session.Error, "", kind, HeldByOther)
		add(fmt.Sprintf("any, %s left", kind), session.Error, "", kind, Abandoned)
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
		{"a request wakes it", Command{Kind: session.OpStart, Wake: true}},
		{"forced restart", Command{Kind: session.OpRestart, Force: true}},
	}
	b.WriteString("## When something is wanted\n\nA session that holds no slot is refused a start, restart or upgrade also while the limit or the host's pressure forbids one\n" +
		"more, and any session after the end of its life. A command joins an operation of the same kind that the same process does.\n\n| Session |")
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
	b.WriteString("\nA code in a cell is that of the refusal.\n\n")
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
		{"it does not run, or is gone", Observation{Container: Down}},
		{"its server ended by itself", Observation{Container: Down, Diagnosis: exited}},
		{"the engine ended it", Observation{Container: Down, Diagnosis: &Diagnosis{Cause: CauseEngine, Failure: session.Errorf(session.CodeNotRunning, "the engine stopped")}}},
		{"another instance may have ended it", Observation{Container: Absent, OthersUnknown: true, Diagnosis: exited}},
		{"the engine cannot be asked", Observation{Container: NotObserved}},
	}
	b.WriteString("## When nothing is wanted\n\n| Session |")
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
	b.WriteString("\nWithout automatic restarts (`HEALTH_CHECK_INTERVAL=0` or no restarts allowed) a server that has ended, or has no\naddress, is *fail*, and one that does not work is left to those who use it.\n")
}
