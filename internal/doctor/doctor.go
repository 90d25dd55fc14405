// Package doctor runs the security audit checklist of an installation: fourteen checks, each of which looks at one thing,
// says what it saw, and what to do about it.
//
// It knows the settings, the engine's API, certificate files, compose files, and the machine that it runs on. It changes
// nothing unless Fix is called, keeps nothing between runs, and refuses to know who asks: a command, or an API later.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Status is how a finding, a check or the whole ended.
type Status string

// The statuses.
const (
	Pass    Status = "pass"
	Warn    Status = "warn"    // works, and should be put right
	Fail    Status = "fail"    // must be put right
	Skipped Status = "skipped" // could not be looked at; what was seen says why
)

// weight orders the statuses: the heaviest finding is the check's.
var weight = map[Status]int{Skipped: 0, Pass: 1, Warn: 2, Fail: 3}

// Finding is one thing that a check saw. Code is stable and from the check's own closed set.
type Finding struct {
	Status Status `json:"status"`
	Code   string `json:"code"`
	Seen   string `json:"seen"`
	Remedy string `json:"remedy,omitempty"` // of warnings and failures
	Path   string `json:"path,omitempty"`   // of the file that it is about
	Line   int    `json:"line,omitempty"`   // in that file, from 1; 0: the whole file
}

// Check looks at one thing.
type Check interface {
	// Name is in kebab-case and stable.
	Name() string
	// Run looks, until ctx ends at the latest. At least one finding comes back.
	Run(ctx context.Context) []Finding
}

// Fixer is a check that can put right, without risk, some of what it finds.
type Fixer interface {
	Check
	// Fix does it and says what it did, a sentence each; none if there was nothing to do. It goes on past an error.
	Fix(ctx context.Context) ([]string, error)
}

// Item is a line of the checklist, with the check that looks after it.
type Item struct {
	Number int
	Title  string
	Check  Check
}

// Result is what became of one item.
type Result struct {
	Item       int       `json:"item"`
	Check      string    `json:"check"`
	Title      string    `json:"title"`
	Status     Status    `json:"status"` // that of the gravest finding
	Findings   []Finding `json:"findings"`
	DurationMS float64   `json:"duration_ms"`
}

// Report is what became of the checklist, in its order.
type Report struct {
	Status  Status         `json:"status"` // that of the gravest result
	Counts  map[Status]int `json:"counts"` // of results, by status
	Results []Result       `json:"results"`
}

// DefaultTimeout is how long one check may take, unless something else is asked for.
const DefaultTimeout = 20 * time.Second

// codeTimedOut is of a check whose time was over.
const codeTimedOut = "timed-out"

// Run runs all checks at once, each for timeout at most (0: DefaultTimeout), and waits for all of them. It fails when
// ctx ends.
func Run(ctx context.Context, items []Item, timeout time.Duration) (Report, error) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	results := make([]Result, len(items))
	var running sync.WaitGroup
	for i, item := range items {
		running.Go(func() { results[i] = item.run(ctx, timeout) })
	}
	running.Wait()
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	report := Report{Status: Skipped, Counts: map[Status]int{}, Results: results}
	for _, r := range results {
		report.Counts[r.Status]++
		report.Status = graver(report.Status, r.Status)
	}
	return report, nil
}

func (i Item) run(ctx context.Context, timeout time.Duration) Result {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begin := time.Now()
	result := Result{Item: i.Number, Check: i.Check.Name(), Title: i.Title, Status: Skipped, Findings: i.Check.Run(bounded)}
	if bounded.Err() != nil {
		result.Findings = append(result.Findings, fail(codeTimedOut, "see what is slow: the engine, the network or the disk",
			"the check did not end within %s, so it may not have seen everything", timeout))
	}
	for _, f := range result.Findings {
		result.Status = graver(result.Status, f.Status)
	}
	result.DurationMS = float64(time.Since(begin).Round(10*time.Microsecond)) / float64(time.Millisecond)
	return result
}

// Fix lets every check that can put something right do so, one after the other. It says what was done.
func Fix(ctx context.Context, items []Item) ([]string, error) {
	var done []string
	var faults []error
	for _, item := range items {
		if f, ok := item.Check.(Fixer); ok {
			did, err := f.Fix(ctx)
			done, faults = append(done, did...), append(faults, err)
		}
	}
	return done, errors.Join(faults...)
}

func graver(a, b Status) Status {
	if weight[b] > weight[a] {
		return b
	}
	return a
}

func pass(code, seen string, args ...any) Finding {
	return Finding{Status: Pass, Code: code, Seen: fmt.Sprintf(seen, args...)}
}

func skip(code, seen string, args ...any) Finding {
	return Finding{Status: Skipped, Code: code, Seen: fmt.Sprintf(seen, args...)}
}

func warn(code, remedy, seen string, args ...any) Finding {
	return Finding{Status: Warn, Code: code, Remedy: remedy, Seen: fmt.Sprintf(seen, args...)}
}

func fail(code, remedy, seen string, args ...any) Finding {
	return Finding{Status: Fail, Code: code, Remedy: remedy, Seen: fmt.Sprintf(seen, args...)}
}

// at says which file a finding is about.
func (f Finding) at(path string, line int) Finding {
	f.Path, f.Line = path, line
	return f
}

// orPass is the findings, or the pass when there is neither a warning nor a failure among them.
func orPass(findings []Finding, good Finding) []Finding {
	for _, f := range findings {
		if f.Status == Warn || f.Status == Fail {
			return findings
		}
	}
	return append(findings, good)
}
