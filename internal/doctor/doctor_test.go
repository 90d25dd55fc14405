package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestChecksHaveTitlesAndNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for i, check := range Checks() {
		if check.Title == "" || names[check.Name] || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(check.Name) {
			t.Errorf("check %d: got %q %q; want a title, and kebab-case names that differ", i+1, check.Name, check.Title)
		}
		names[check.Name] = true
	}
}

func answer(findings ...Finding) func(context.Context, *Options) []Finding {
	return func(context.Context, *Options) []Finding { return findings }
}

func TestRunReportsWorstStatusAndKeepsOrder(t *testing.T) {
	t.Parallel()
	good, bad, worse, none := pass("ok", "fine"), warn("meh", "do", "hm"), fail("bad", "do", "oh"), skip("none", "no")
	report, err := Run(t.Context(), Options{}, []Check{
		{Name: "a", Run: answer(good, none)},
		{Name: "b", Run: answer(bad, worse, good)},
		{Name: "c", Run: answer(none)},
		{Name: "d", Run: answer(good, bad)},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []Status
	for _, r := range report.Results {
		got = append(got, r.Status)
	}
	if diff := cmp.Diff([]Status{Pass, Fail, Skipped, Warn}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if want := map[Status]int{Pass: 1, Fail: 1, Skipped: 1, Warn: 1}; report.Status != Fail || !cmp.Equal(want, report.Counts) {
		t.Errorf("report: got %s %v, want fail %v", report.Status, report.Counts, want)
	}
}

func TestRunIsConcurrentAndBounded(t *testing.T) {
	t.Parallel()
	met := make(chan struct{})
	meet := func(send bool) func(context.Context, *Options) []Finding {
		return func(ctx context.Context, _ *Options) []Finding {
			if send {
				select {
				case met <- struct{}{}:
				case <-ctx.Done():
				}
			} else {
				select {
				case <-met:
				case <-ctx.Done():
				}
			}
			return []Finding{pass("met", "met")}
		}
	}
	slow := func(ctx context.Context, _ *Options) []Finding {
		<-ctx.Done()
		return nil
	}
	report, err := Run(t.Context(), Options{}, []Check{
		{Name: "a", Run: meet(true)},
		{Name: "b", Run: meet(false)},
		{Name: "c", Run: slow},
	}, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if report.Results[0].Status != Pass || report.Results[1].Status != Pass {
		t.Errorf("two checks that wait for each other: got %+v, want pass", report.Results[:2])
	}
	if diff := cmp.Diff([]string{"fail timed-out"}, codes(report.Results[2].Findings)); diff != "" {
		t.Errorf("a check without an end (-want +got):\n%s", diff)
	}
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := Run(ctx, Options{}, []Check{{Name: "a", Run: slow}}, 0); !errors.Is(err, reason) {
		t.Errorf("a run that is ended: got %v, want the reason", err)
	}
}

func TestFixContinuesAfterError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	done, err := Fix(t.Context(), Options{}, []Check{
		{Name: "a", Fix: func(context.Context, *Options) ([]string, error) { return []string{"one"}, broken }},
		{Name: "b", Fix: func(context.Context, *Options) ([]string, error) { return []string{"two"}, nil }},
	})
	if !errors.Is(err, broken) || !cmp.Equal(done, []string{"one", "two"}) {
		t.Errorf("got %q, %v; want both and the error", done, err)
	}
}

// TestSARIFMatchesItsSchema checks the parts of the 2.1.0 schema that concern this report: required members,
// enumerations, the rule that level is none unless kind is fail, and indices that point to something.
func TestSARIFMatchesItsSchema(t *testing.T) {
	t.Parallel()
	report, err := Run(t.Context(), Options{}, []Check{
		{Name: "a-check", Run: answer(pass("ok", "fine"), skip("none", "no"))},
		{Name: "another", Run: answer(
			fail("bad", "correct it", "oh").at("dir with space/compose.yaml", 7), warn("meh", "look", "hm").at("/etc/x.pem", 0))},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report.SARIF("1.2.3"))
	if err != nil {
		t.Fatal(err)
	}
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version string
					Rules         []struct {
						ID, Name         string
						ShortDescription struct{ Text string }
					}
				}
			}
			Results []struct {
				RuleID      string
				RuleIndex   int
				Kind, Level string
				Message     struct{ Text string }
				Locations   []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || !strings.HasSuffix(log.Schema, "sarif-schema-2.1.0.json") || len(log.Runs) != 1 {
		t.Fatalf("version %q, schema %q, %d runs", log.Version, log.Schema, len(log.Runs))
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name == "" || run.Tool.Driver.Version != "1.2.3" || len(run.Tool.Driver.Rules) != 2 || run.Tool.Driver.Rules[0].Name != "ACheck" {
		t.Errorf("driver: %+v", run.Tool.Driver)
	}
	kinds := map[string]bool{"pass": true, "fail": true, "notApplicable": true, "open": true, "review": true, "informational": true}
	levels := map[string]bool{"none": true, "note": true, "warning": true, "error": true}
	var got []string
	for _, r := range run.Results {
		if !kinds[r.Kind] || !levels[r.Level] || (r.Kind != "fail") != (r.Level == "none") || r.Message.Text == "" {
			t.Errorf("result %+v: kind and level do not go together, or no text", r)
		}
		if r.RuleIndex >= len(run.Tool.Driver.Rules) || !strings.HasPrefix(r.RuleID, run.Tool.Driver.Rules[r.RuleIndex].ID+"/") {
			t.Errorf("result %s points to rule %d", r.RuleID, r.RuleIndex)
		}
		where := ""
		for _, l := range r.Locations {
			where = " " + l.PhysicalLocation.ArtifactLocation.URI
			if l.PhysicalLocation.Region != nil {
				where += ":" + strconv.Itoa(l.PhysicalLocation.Region.StartLine)
			}
		}
		got = append(got, r.RuleID+" "+r.Kind+" "+r.Level+where)
	}
	want := []string{
		"a-check/ok pass none", "a-check/none notApplicable none", "another/bad fail error dir%20with%20space/compose.yaml:7",
		"another/meh fail warning file:///etc/x.pem",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	empty, err := json.Marshal(Report{}.SARIF(""))
	if err != nil || !strings.Contains(string(empty), `"results":[]`) || !strings.Contains(string(empty), `"rules":[]`) {
		t.Errorf("an empty report: got %s, %v; want empty arrays, not null", empty, err)
	}
}
