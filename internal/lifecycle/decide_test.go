package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"berth/internal/session"
)

// every yields every combination of the inputs of a decision.
func every(yield func(name func() string, s session.Session, seen Observation, c Command)) {
	now, wanted := decideNow, commands()
	kinds := []session.Kind{"", session.OpCreate, session.OpStart, session.OpStop, session.OpRestart, session.OpDelete, session.OpUpgrade}
	endings := map[string]*Diagnosis{
		"":            nil,
		"exited":      {Cause: CauseExited, Failure: session.Errorf(session.CodeNotRunning, "it ended")},
		"byhand":      {Cause: CauseByHand, Failure: session.Errorf(session.CodeNotRunning, "it was stopped"), ByHand: true},
		"engine":      {Cause: CauseEngine, Failure: session.Errorf(session.CodeNotRunning, "the engine stopped")},
		"unreachable": unreachableDiagnosis(),
		"hangs":       {Cause: CauseHangs, Failure: session.Errorf(session.CodeUpstream, "it hangs")},
	}
	for _, status := range session.Statuses() {
		for _, reason := range []session.StopReason{"", session.StopIdle, session.StopEngine, session.StopLifetime, session.StopSize} {
			for _, restarts := range []int{0, 1, 3} {
				for _, over := range []bool{false, true} {
					s := session.Session{ID: "ses-x", Status: status, StopReason: reason, RestartCount: restarts, CreatedAt: now.Add(-time.Hour), LastAccessed: now.Add(-2 * time.Hour)}
					if over {
						s.ExpiresAt = now
					}
					for _, op := range kinds {
						holders := []Holder{HeldHere, HeldByOther, Abandoned}
						if op == "" {
							holders = []Holder{NoOperation}
						} else if op == session.OpStop || op == session.OpDelete {
							holders = append(holders, RetryLater, RetryNow)
						}
						for _, holder := range holders {
							s := s
							s.Operation = recorded(op, holder)
							for _, container := range []ContainerState{NotObserved, Absent, Up, Changing, Down} {
								for ended, ending := range endings {
									for _, server := range []ServerState{NotProbed, Working, NotWorking} {
										if server == NotWorking && ending == nil {
											continue // a server that does not work always has a diagnosis
										}
										for _, unknown := range []bool{false, true} {
											for name, c := range wanted {
												if c.Kind != "" && (ending != nil || server != NotProbed || unknown) {
													continue // decisions about commands do not depend on it
												}
												yield(func() string {
													return fmt.Sprintf("%s/%s/%d restarts/over %v, %s held %d, container %d, ended %q, server %d, others unknown %v: %s",
														status, reason, restarts, over, op, holder, container, ended, server, unknown, name)
												}, s, Observation{Holder: holder, Container: container, Diagnosis: ending, Server: server, OthersUnknown: unknown}, c)
											}
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

var (
	decideNow   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	decideRules = Rules{
		Process: "here", StartTimeout: time.Minute, StopTimeout: time.Second, IdleTimeout: time.Hour, Restarts: true, MaxRestarts: 3,
		RestartDelay: func(n int) time.Duration { return time.Duration(n) * time.Second },
	}
)

func recorded(kind session.Kind, holder Holder) *session.Operation {
	owners := map[Holder]string{HeldHere: "here", HeldByOther: "other", Abandoned: "gone"}
	if kind == "" {
		return nil
	}
	deadline := decideNow.Add(time.Minute)
	if holder == HeldByOther { // the clock of another process differs
		deadline = decideNow.Add(-time.Hour)
	}
	return &session.Operation{Kind: kind, Owner: owners[holder], Deadline: deadline}
}

// commands returns every command; the empty one is none.
func commands() map[string]Command {
	all := map[string]Command{
		"": {}, "wake": {Kind: session.OpStart, Wake: true}, "stop idle": {Kind: session.OpStop, Reason: session.StopIdle},
		"stop at the end of the lifetime": {Kind: session.OpStop, Reason: session.StopLifetime}, "stop for size": {Kind: session.OpStop, Reason: session.StopSize},
		"resume create": {Kind: session.OpCreate, Resume: true},
	}
	for _, kind := range []session.Kind{session.OpStart, session.OpStop, session.OpRestart, session.OpDelete, session.OpUpgrade} {
		all[string(kind)] = Command{Kind: kind}
		all["force "+string(kind)] = Command{Kind: kind, Force: true}
		all["resume "+string(kind)] = Command{Kind: kind, Resume: true}
	}
	return all
}

// The invariants hold in every combination of record, observation and command.
func TestDecideInvariantsHoldInEveryCombination(t *testing.T) {
	t.Parallel()
	seen := 0
	faults := map[string]string{}
	every(func(name func() string, s session.Session, situation Observation, c Command) {
		seen++
		before := s.Clone()
		for _, restarts := range []bool{true, false} {
			rules := decideRules
			rules.Restarts = restarts
			d := rules.Decide(s, situation, c, decideNow)
			for _, invariant := range invariants {
				if !invariant.holds(s, situation, c, d) {
					faults[invariant.text] = fmt.Sprintf("%s (restarts %v): got %s, %+v", name(), restarts, d.Verdict, d.Next)
				}
			}
		}
		if s.Status != before.Status || s.RestartCount != before.RestartCount || len(s.Timeline) != len(before.Timeline) {
			faults["Decide is pure"] = name()
		}
	})
	for text, example := range faults {
		t.Errorf("invariant %q does not hold for %s", text, example)
	}
	if seen < 500_000 {
		t.Errorf("only %d combinations were checked", seen)
	}
}

func writes(d Decision) bool {
	switch d.Verdict {
	case Begin, Preempt, Restart, Fail, Recover:
		return true
	case Adopt:
		return d.Changed
	}
	return false
}

// invariants hold for every decision.
var invariants = []struct {
	text  string
	holds func(session.Session, Observation, Command, Decision) bool
}{
	{"every decision has a verdict, and a refusal exactly if it is Refuse", func(_ session.Session, _ Observation, c Command, d Decision) bool {
		return d.Verdict != "" && (d.Verdict == Refuse) == (d.Refusal != nil) && (c.Kind != "" || d.Refusal == nil)
	}},
	{"every change of status is in the table of session", func(s session.Session, _ Observation, _ Command, d Decision) bool {
		return !writes(d) || s.Status.CanBecome(d.Next.Status)
	}},
	{"a command changes no status: that happens at the end of its operation", func(s session.Session, _ Observation, c Command, d Decision) bool {
		return c.Kind == "" || !writes(d) || s.Status == d.Next.Status
	}},
	{"a requested delete is never abandoned", func(s session.Session, _ Observation, _ Command, d Decision) bool {
		return s.Operation == nil || s.Operation.Kind != session.OpDelete || !writes(d) || d.Next.Operation.Kind == session.OpDelete
	}},
	{"only a delete command begins a delete, so that nothing else removes volumes", func(s session.Session, _ Observation, c Command, d Decision) bool {
		asked := c.Kind == session.OpDelete || s.Operation != nil && s.Operation.Kind == session.OpDelete
		return asked || d.Kind != session.OpDelete && (!writes(d) || d.Next.Operation == nil || d.Next.Operation.Kind != session.OpDelete)
	}},
	{"without a command, nothing is done while an operation is in progress", func(_ session.Session, seen Observation, c Command, d Decision) bool {
		return c.Kind != "" || seen.Holder != HeldHere && seen.Holder != HeldByOther && seen.Holder != RetryLater || d.Verdict == Keep
	}},
	{"only an operation that the command preempts is preempted", func(s session.Session, seen Observation, c Command, d Decision) bool {
		held := seen.Holder == HeldHere || seen.Holder == HeldByOther
		return d.Verdict != Preempt || held && c.preempts(s.Operation.Kind)
	}},
	{"no operation begins beside one in progress", func(_ session.Session, seen Observation, _ Command, d Decision) bool {
		return d.Verdict != Begin || seen.Holder != HeldHere && seen.Holder != HeldByOther
	}},
	{"an abandoned operation is resumed, or stopped because the lifetime has ended", func(s session.Session, seen Observation, c Command, d Decision) bool {
		abandoned := seen.Holder == Abandoned || seen.Holder == RetryNow
		return c.Kind != "" || !abandoned || d.Verdict == Resume && (d.Kind == s.Operation.Kind || d.Kind == session.OpStop && isExpired(s, decideNow))
	}},
	{"a recorded operation has an owner and a deadline that allows enough time", func(_ session.Session, _ Observation, _ Command, d Decision) bool {
		if !writes(d) || d.Next.Operation == nil {
			return true
		}
		op := d.Next.Operation
		return op.Owner == "here" && !op.Deadline.Before(decideNow.Add(decideRules.allowance(op.Kind)))
	}},
	{"no command starts a session after the end of its lifetime", func(s session.Session, _ Observation, c Command, d Decision) bool {
		began := d.Verdict == Begin || d.Verdict == Preempt
		return !isExpired(s, decideNow) || !c.Kind.BringsUp() || !began
	}},
	{"a stopped session stays stopped until a command starts it", func(s session.Session, seen Observation, c Command, d Decision) bool {
		stopped := s.Status == session.Stopped && s.Operation == nil && s.StopReason != session.StopEngine
		starts := d.Verdict == Resume && d.Kind != session.OpStop || writes(d) && d.Next.Operation != nil && d.Next.Operation.Kind.BringsUp()
		return !stopped || c.Kind != "" || !starts
	}},
	{"a wake starts only sessions that were stopped as idle or by the engine", func(s session.Session, _ Observation, c Command, d Decision) bool {
		return !c.Wake || d.Verdict == Keep || d.Verdict == Refuse || wakesOnRequest(s)
	}},
	{"an exit that another process may have requested is not undone", func(s session.Session, seen Observation, c Command, d Decision) bool {
		ended := s.Status == session.Running && s.Operation == nil && (seen.Container == Absent || seen.Container == Down && seen.Diagnosis != nil && seen.Diagnosis.ByHand)
		engine := seen.Diagnosis == nil || seen.Diagnosis.Cause == CauseEngine
		return c.Kind != "" || !ended || !seen.OthersUnknown || engine || d.Verdict == Wait
	}},
	{"an exit caused by the engine uses no restart", func(s session.Session, seen Observation, c Command, d Decision) bool {
		return c.Kind != "" || seen.Diagnosis == nil || seen.Diagnosis.Cause != CauseEngine || seen.Container != Down || s.Status != session.Running ||
			!writes(d) || d.Next.RestartCount == s.RestartCount
	}},
	{"automatic restarts are limited", func(s session.Session, _ Observation, c Command, d Decision) bool {
		return d.Verdict != Restart || s.RestartCount < decideRules.MaxRestarts && d.Next.RestartCount == s.RestartCount+1
	}},
	{"a session in error has an event with the reason", func(s session.Session, _ Observation, _ Command, d Decision) bool {
		return d.Verdict != Fail && d.Verdict != Restart || d.Next.Status == session.Error && len(d.Next.Timeline) > 0
	}},
	{"a stop and a delete are refused only during a delete or another operation", func(s session.Session, seen Observation, c Command, d Decision) bool {
		own := c.Reason != "" // automatic stops are refused if their reason does not apply any more
		busy := seen.Holder == HeldHere || seen.Holder == HeldByOther
		deleting := s.Operation != nil && s.Operation.Kind == session.OpDelete
		return own || c.Kind != session.OpStop && c.Kind != session.OpDelete || d.Verdict != Refuse || busy || deleting
	}},
	{"every session without an operation in progress can be deleted", func(s session.Session, seen Observation, c Command, d Decision) bool {
		free := seen.Holder != HeldHere && seen.Holder != HeldByOther
		return !free || c.Kind != session.OpDelete || d.Verdict == Begin
	}},
	{"a session without an address does not stay running, with or without restarts", func(s session.Session, seen Observation, c Command, d Decision) bool {
		running := s.Status == session.Running && s.Operation == nil && c.Kind == ""
		unreachable := seen.Container == Up && seen.Server == NotWorking && seen.Diagnosis.Failure.Code != session.CodeUpstream
		return !running || !unreachable || writes(d) && d.Next.Status == session.Error
	}},
	{"a start of a running session begins, whatever its container's state: the operation finds the address", func(s session.Session, seen Observation, c Command, d Decision) bool {
		free := seen.Holder == NoOperation && !isExpired(s, decideNow)
		return !free || s.Status != session.Running || c.Kind != session.OpStart || c.Wake || d.Verdict == Begin
	}},
	{"a session becomes running only if its server works", func(s session.Session, seen Observation, _ Command, d Decision) bool {
		becomes := writes(d) && d.Next.Status == session.Running && s.Status != session.Running
		return !becomes || seen.Container == Up && seen.Server == Working
	}},
}
