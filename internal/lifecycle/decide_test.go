package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"berth/internal/session"
)

// every is every combination of what a decision depends on.
func every(yield func(name func() string, s session.Session, seen Observation, c Command)) {
	now, wanted := decideNow, commands()
	kinds := []session.Kind{"", session.OpCreate, session.OpStart, session.OpStop, session.OpRestart, session.OpDelete, session.OpUpgrade}
	endings := map[string]*Diagnosis{
		"":        nil,
		"exited":  {Cause: CauseExited, Failure: session.Errorf(session.CodeNotRunning, "it ended")},
		"byhand":  {Cause: CauseByHand, Failure: session.Errorf(session.CodeNotRunning, "it was stopped"), ByHand: true},
		"engine":  {Cause: CauseEngine, Failure: session.Errorf(session.CodeNotRunning, "the engine stopped")},
		"nowhere": unreachableDiagnosis(),
		"hangs":   {Cause: CauseHangs, Failure: session.Errorf(session.CodeUpstream, "it hangs")},
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
											continue // who has asked it knows why
										}
										for _, unknown := range []bool{false, true} {
											for name, c := range wanted {
												if c.Kind != "" && (ending != nil || server != NotProbed || unknown) {
													continue // a command does not depend on it
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
	if holder == HeldByOther { // whose clock is another one
		deadline = decideNow.Add(-time.Hour)
	}
	return &session.Operation{Kind: kind, Owner: owners[holder], Deadline: deadline}
}

// commands are all that can be wanted of a session. The empty one is nothing.
func commands() map[string]Command {
	all := map[string]Command{
		"": {}, "wake": {Kind: session.OpStart, Wake: true}, "stop idle": {Kind: session.OpStop, Reason: session.StopIdle},
		"stop at the end of life": {Kind: session.OpStop, Reason: session.StopLifetime}, "stop for size": {Kind: session.OpStop, Reason: session.StopSize},
		"go on with create": {Kind: session.OpCreate, Resume: true},
	}
	for _, kind := range []session.Kind{session.OpStart, session.OpStop, session.OpRestart, session.OpDelete, session.OpUpgrade} {
		all[string(kind)] = Command{Kind: kind}
		all["force "+string(kind)] = Command{Kind: kind, Force: true}
		all["go on with "+string(kind)] = Command{Kind: kind, Resume: true}
	}
	return all
}

// The promises that hold whatever happens.
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
			for _, promise := range promises {
				if !promise.holds(s, situation, c, d) {
					faults[promise.text] = fmt.Sprintf("%s (restarts %v): got %s, %+v", name(), restarts, d.Verdict, d.Next)
				}
			}
		}
		if s.Status != before.Status || s.RestartCount != before.RestartCount || len(s.Timeline) != len(before.Timeline) {
			faults["it is pure"] = name()
		}
	})
	for text, example := range faults {
		t.Errorf("%s: not for %s", text, example)
	}
	if seen < 500_000 {
		t.Errorf("only %d combinations", seen)
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

// promises are what no decision may break.
var promises = []struct {
	text  string
	holds func(session.Session, Observation, Command, Decision) bool
}{
	{"every decision is one", func(_ session.Session, _ Observation, c Command, d Decision) bool {
		return d.Verdict != "" && (d.Verdict == Refuse) == (d.Refusal != nil) && (c.Kind != "" || d.Refusal == nil)
	}},
	{"a status changes only as it may", func(s session.Session, _ Observation, _ Command, d Decision) bool {
		return !writes(d) || s.Status.CanBecome(d.Next.Status)
	}},
	{"a command changes no status: that is done when it has been carried out", func(s session.Session, _ Observation, c Command, d Decision) bool {
		return c.Kind == "" || !writes(d) || s.Status == d.Next.Status
	}},
	{"a delete that was asked for is never given up", func(s session.Session, _ Observation, _ Command, d Decision) bool {
		return s.Operation == nil || s.Operation.Kind != session.OpDelete || !writes(d) || d.Next.Operation.Kind == session.OpDelete
	}},
	{"volumes go only with a delete that was asked for: nothing else leads to one", func(s session.Session, _ Observation, c Command, d Decision) bool {
		asked := c.Kind == session.OpDelete || s.Operation != nil && s.Operation.Kind == session.OpDelete
		return asked || d.Kind != session.OpDelete && (!writes(d) || d.Next.Operation == nil || d.Next.Operation.Kind != session.OpDelete)
	}},
	{"a session that somebody works on is left alone unless something is wanted", func(_ session.Session, seen Observation, c Command, d Decision) bool {
		return c.Kind != "" || seen.Holder != HeldHere && seen.Holder != HeldByOther && seen.Holder != RetryLater || d.Verdict == Keep
	}},
	{"only what may be preempted is", func(s session.Session, seen Observation, c Command, d Decision) bool {
		held := seen.Holder == HeldHere || seen.Holder == HeldByOther
		return d.Verdict != Preempt || held && c.preempts(s.Operation.Kind)
	}},
	{"work that another does is not begun beside it", func(_ session.Session, seen Observation, _ Command, d Decision) bool {
		return d.Verdict != Begin || seen.Holder != HeldHere && seen.Holder != HeldByOther
	}},
	{"work that nobody does is gone on with, or ended because the session's time is over", func(s session.Session, seen Observation, c Command, d Decision) bool {
		left := seen.Holder == Abandoned || seen.Holder == RetryNow
		return c.Kind != "" || !left || d.Verdict == Resume && (d.Kind == s.Operation.Kind || d.Kind == session.OpStop && isExpired(s, decideNow))
	}},
	{"what is recorded has an owner, a deadline and the right allowance", func(_ session.Session, _ Observation, _ Command, d Decision) bool {
		if !writes(d) || d.Next.Operation == nil {
			return true
		}
		op := d.Next.Operation
		return op.Owner == "here" && !op.Deadline.Before(decideNow.Add(decideRules.allowance(op.Kind)))
	}},
	{"nobody is brought up after the end of its life, nor by an operation that was begun before", func(s session.Session, _ Observation, c Command, d Decision) bool {
		began := d.Verdict == Begin || d.Verdict == Preempt
		return !isExpired(s, decideNow) || !c.Kind.BringsUp() || !began
	}},
	{"what somebody has stopped stays so until somebody starts it", func(s session.Session, seen Observation, c Command, d Decision) bool {
		stopped := s.Status == session.Stopped && s.Operation == nil && s.StopReason != session.StopEngine
		starts := d.Verdict == Resume && d.Kind != session.OpStop || writes(d) && d.Next.Operation != nil && d.Next.Operation.Kind.BringsUp()
		return !stopped || c.Kind != "" || !starts
	}},
	{"a wake starts nothing but what was stopped as idle or by the engine", func(s session.Session, _ Observation, c Command, d Decision) bool {
		return !c.Wake || d.Verdict == Keep || d.Verdict == Refuse || wakesOnRequest(s)
	}},
	{"an end that may be another process's wish is not undone", func(s session.Session, seen Observation, c Command, d Decision) bool {
		lost := s.Status == session.Running && s.Operation == nil && (seen.Container == Absent || seen.Container == Down && seen.Diagnosis != nil && seen.Diagnosis.ByHand)
		engine := seen.Diagnosis == nil || seen.Diagnosis.Cause == CauseEngine
		return c.Kind != "" || !lost || !seen.OthersUnknown || engine || d.Verdict == Wait
	}},
	{"an end for the engine's sake uses up no restart", func(s session.Session, seen Observation, c Command, d Decision) bool {
		return c.Kind != "" || seen.Diagnosis == nil || seen.Diagnosis.Cause != CauseEngine || seen.Container != Down || s.Status != session.Running ||
			!writes(d) || d.Next.RestartCount == s.RestartCount
	}},
	{"restarts without a request end", func(s session.Session, _ Observation, c Command, d Decision) bool {
		return d.Verdict != Restart || s.RestartCount < decideRules.MaxRestarts && d.Next.RestartCount == s.RestartCount+1
	}},
	{"a session in error says why", func(s session.Session, _ Observation, _ Command, d Decision) bool {
		return d.Verdict != Fail && d.Verdict != Restart || d.Next.Status == session.Error && len(d.Next.Timeline) > 0
	}},
	{"a stop and a delete are refused only while they cannot be done: a delete is on, or other work goes on", func(s session.Session, seen Observation, c Command, d Decision) bool {
		own := c.Reason != "" // Berth's own stops depend on what is the case
		busy := seen.Holder == HeldHere || seen.Holder == HeldByOther
		deleting := s.Operation != nil && s.Operation.Kind == session.OpDelete
		return own || c.Kind != session.OpStop && c.Kind != session.OpDelete || d.Verdict != Refuse || busy || deleting
	}},
	{"no state is without an exit: what nobody works on can be stopped and deleted", func(s session.Session, seen Observation, c Command, d Decision) bool {
		free := seen.Holder != HeldHere && seen.Holder != HeldByOther
		return !free || c.Kind != session.OpDelete || d.Verdict == Begin
	}},
	{"a session that nobody can reach does not stay as one that runs, whether or not it is restarted", func(s session.Session, seen Observation, c Command, d Decision) bool {
		running := s.Status == session.Running && s.Operation == nil && c.Kind == ""
		nowhere := seen.Container == Up && seen.Server == NotWorking && seen.Diagnosis.Failure.Code != session.CodeUpstream
		return !running || !nowhere || writes(d) && d.Next.Status == session.Error
	}},
	{"a start of a session that runs begins, whatever is seen of its container: doing it finds out where the server is", func(s session.Session, seen Observation, c Command, d Decision) bool {
		free := seen.Holder == NoOperation && !isExpired(s, decideNow)
		return !free || s.Status != session.Running || c.Kind != session.OpStart || c.Wake || d.Verdict == Begin
	}},
	{"only a session that works counts as running", func(s session.Session, seen Observation, _ Command, d Decision) bool {
		becomes := writes(d) && d.Next.Status == session.Running && s.Status != session.Running
		return !becomes || seen.Container == Up && seen.Server == Working
	}},
}
