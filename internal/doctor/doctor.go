// Package doctor runs the security audit checklist of an installation: checks, each of which reports its
// findings and their remedies.
//
// It knows the settings, the engine's API, certificate files, compose files, and the machine that it runs on. It changes
// nothing unless Fix is called, keeps nothing between runs, and does not know its callers: a command, or an API later.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"berth/internal/config"
	"berth/internal/doctor/connection"
)

// Status is the status of a finding, a check or the whole report.
type Status = connection.Status

// The statuses.
const (
	Pass    = connection.Pass
	Warn    = connection.Warn    // works, and should be corrected
	Fail    = connection.Fail    // must be corrected
	Skipped = connection.Skipped // could not be checked; the text says why
)

// Finding is a result of a check. Code is stable and from the check's own closed set.
type Finding struct {
	Status Status `json:"status"`
	Code   string `json:"code"`
	Seen   string `json:"seen"`
	Remedy string `json:"remedy,omitempty"` // of warnings and failures
	Path   string `json:"path,omitempty"`   // of the file with the fault
	Line   int    `json:"line,omitempty"`   // in that file, from 1; 0: the whole file
}

// Check is one check of the checklist.
type Check struct {
	Name  string // in kebab-case, and stable
	Title string // of the checklist's item
	// EngineOnly checks apply only to sessions in an engine's containers: they are skipped where sessions are processes.
	EngineOnly bool
	// Run checks until ctx ends at the latest. It returns at least one finding.
	Run func(ctx context.Context, o *Options) []Finding
	// Fix corrects some of Run's findings where that is safe, and returns a sentence for each correction. It continues after an
	// error. Nil: nothing can be corrected.
	Fix func(ctx context.Context, o *Options) ([]string, error)
}

// Result is the result of one check.
type Result struct {
	Item       int       `json:"item"` // the check's number, from 1
	Check      string    `json:"check"`
	Title      string    `json:"title"`
	Status     Status    `json:"status"` // the most severe of the findings
	Findings   []Finding `json:"findings"`
	DurationMS float64   `json:"duration_ms"`
}

// Report is the results of the checks, in their order.
type Report struct {
	Status  Status         `json:"status"` // the most severe of the results
	Counts  map[Status]int `json:"counts"` // of results, by status
	Results []Result       `json:"results"`
}

// DefaultTimeout is the default time limit of one check.
const DefaultTimeout = 20 * time.Second

// codeTimedOut is the code of a check that timed out.
const codeTimedOut = "timed-out"

// Run runs all checks at once, each for timeout at most (0: DefaultTimeout), and waits for all of them. It fails when
// ctx ends.
func Run(ctx context.Context, o Options, checks []Check, timeout time.Duration) (Report, error) {
	o.fill()
	timeout = cmp.Or(max(timeout, 0), DefaultTimeout)
	report := Report{Status: Skipped, Counts: map[Status]int{}, Results: make([]Result, len(checks))}
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() {
			bounded, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			report.Results[i] = check.result(bounded, &o, timeout)
			report.Results[i].Item = i + 1
		})
	}
	running.Wait()
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	for _, r := range report.Results {
		report.Counts[r.Status]++
		report.Status = connection.Worst(report.Status, r.Status)
	}
	return report, nil
}

func (c Check) result(ctx context.Context, o *Options, timeout time.Duration) Result {
	begin := time.Now()
	result := Result{Check: c.Name, Title: c.Title, Status: Skipped, Findings: c.findings(ctx, o)}
	if ctx.Err() != nil {
		result.Findings = append(result.Findings, fail(codeTimedOut, "see what is slow: the engine, the network or the disk",
			"the check did not end within %s, so it may not have seen everything", timeout))
	}
	for _, f := range result.Findings {
		result.Status = connection.Worst(result.Status, f.Status)
	}
	result.DurationMS = float64(time.Since(begin).Round(10*time.Microsecond)) / float64(time.Millisecond)
	return result
}

func (c Check) applies(o *Options) bool {
	return !c.EngineOnly || o.Config.Session.Runtime != config.RuntimeProcess
}

func (c Check) findings(ctx context.Context, o *Options) []Finding {
	if !c.applies(o) {
		return []Finding{skip("no-engine-used", "%v", ErrNoEngine)}
	}
	return c.Run(ctx, o)
}

// Fix runs the corrections of all checks, one after the other, and returns what was corrected.
func Fix(ctx context.Context, o Options, checks []Check) ([]string, error) {
	o.fill()
	var done []string
	var faults []error
	for _, c := range checks {
		if c.Fix != nil && c.applies(&o) {
			did, err := c.Fix(ctx, &o)
			done, faults = append(done, did...), append(faults, err)
		}
	}
	return done, errors.Join(faults...)
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

// at sets the file of a finding.
func (f Finding) at(path string, line int) Finding {
	f.Path, f.Line = path, line
	return f
}

// orPass returns the findings, with the pass added if none of them is a warning or failure.
func orPass(findings []Finding, good Finding) []Finding {
	for _, f := range findings {
		if f.Status == Warn || f.Status == Fail {
			return findings
		}
	}
	return append(findings, good)
}
