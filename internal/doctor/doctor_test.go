package doctor

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/pki"
)

func port(n uint16) string { return strconv.Itoa(int(n)) }

// certificate is one to be made by no authority in particular.
type certificate struct {
	rsaBits int // 0: ECDSA
	p224    bool
	days    int
}

func writeCertificate(t *testing.T, path string, c certificate) {
	t.Helper()
	var key crypto.Signer
	var err error
	switch {
	case c.rsaBits > 0:
		key, err = rsa.GenerateKey(rand.Reader, c.rsaBits)
	case c.p224:
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, c.days),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func TestTheChecklistHasItsFourteenItems(t *testing.T) {
	t.Parallel()
	o, _ := world(t)
	items := Checklist(o)
	names := map[string]bool{}
	for i, item := range items {
		if item.Number != i+1 || item.Title == "" || names[item.Check.Name()] || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(item.Check.Name()) {
			t.Errorf("item %d: got %d %q %q; want numbers in order, and kebab-case names that differ", i+1, item.Number, item.Title, item.Check.Name())
		}
		names[item.Check.Name()] = true
	}
	if len(items) != 14 {
		t.Errorf("got %d items, want 14", len(items))
	}
}

// scripted is a check that does what a test wants.
type scripted struct {
	name string
	run  func(ctx context.Context) []Finding
	fix  func() ([]string, error)
}

func (s scripted) Name() string                          { return s.name }
func (s scripted) Run(ctx context.Context) []Finding     { return s.run(ctx) }
func (s scripted) Fix(context.Context) ([]string, error) { return s.fix() }

func answer(findings ...Finding) func(context.Context) []Finding {
	return func(context.Context) []Finding { return findings }
}

func TestRunReportsTheGravestAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	good, bad, worse, none := pass("ok", "fine"), warn("meh", "do", "hm"), fail("bad", "do", "oh"), skip("none", "no")
	report, err := Run(t.Context(), []Item{
		{1, "a", scripted{name: "a", run: answer(good, none)}},
		{2, "b", scripted{name: "b", run: answer(bad, worse, good)}},
		{3, "c", scripted{name: "c", run: answer(none)}},
		{4, "d", scripted{name: "d", run: answer(good, bad)}},
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

func TestChecksRunAtOnceAndWithinTheirTime(t *testing.T) {
	t.Parallel()
	met := make(chan struct{})
	meet := func(send bool) func(context.Context) []Finding {
		return func(ctx context.Context) []Finding {
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
	slow := func(ctx context.Context) []Finding {
		<-ctx.Done()
		return nil
	}
	report, err := Run(t.Context(), []Item{
		{1, "a", scripted{name: "a", run: meet(true)}},
		{2, "b", scripted{name: "b", run: meet(false)}},
		{3, "c", scripted{name: "c", run: slow}},
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
	if _, err := Run(ctx, []Item{{1, "a", scripted{name: "a", run: slow}}}, 0); !errors.Is(err, reason) {
		t.Errorf("a run that is ended: got %v, want the reason", err)
	}
}

func TestFixGoesOnPastAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	done, err := Fix(t.Context(), []Item{
		{1, "a", scripted{name: "a", fix: func() ([]string, error) { return []string{"one"}, broken }}},
		{2, "b", scripted{name: "b", fix: func() ([]string, error) { return []string{"two"}, nil }}},
	})
	if !errors.Is(err, broken) || !cmp.Equal(done, []string{"one", "two"}) {
		t.Errorf("got %q, %v; want both and the error", done, err)
	}
}

func TestFixGivesTheModesThatTheCheckWants(t *testing.T) {
	t.Parallel()
	o, _ := world(t)
	dir := o.Config.Docker.CertPath
	for name, mode := range map[string]os.FileMode{".": 0o777, pki.ClientKeyFile: 0o666, pki.CACertFile: 0o666, pki.ServerKeyFile: 0o440} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	check := certificatePermissions{o}
	done, err := check.Fix(t.Context())
	if err != nil || len(done) != 4 {
		t.Fatalf("Fix: got %q, %v; want four corrections", done, err)
	}
	if diff := cmp.Diff([]string{"pass protected"}, codes(check.Run(t.Context()))); diff != "" {
		t.Errorf("after Fix (-want +got):\n%s", diff)
	}
	if done, err := check.Fix(t.Context()); err != nil || len(done) != 0 {
		t.Errorf("a second Fix: got %q, %v; want nothing to do", done, err)
	}
}

func TestFixTouchesNothingThatIsElsewhere(t *testing.T) {
	t.Parallel()
	o, _ := world(t)
	dir, outside := o.Config.Docker.CertPath, t.TempDir()
	target := filepath.Join(outside, "passwords")
	write(t, target, "secret")
	if err := os.Chmod(target, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "link.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(target, filepath.Join(dir, "hard.pem")); err != nil {
		t.Fatal(err)
	}
	done, err := certificatePermissions{o}.Fix(t.Context())
	if err == nil || len(done) != 0 || !strings.Contains(err.Error(), "link.pem") || !strings.Contains(err.Error(), "hard.pem") {
		t.Errorf("Fix: got %q, %v; want it to refuse both", done, err)
	}
	info, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o666 {
		t.Errorf("the file outside has mode %o now", info.Mode().Perm())
	}
}

// TestSARIFHasWhatItsSchemaRequires checks the parts of the 2.1.0 schema that concern this report: required members,
// enumerations, the rule that level is none unless kind is fail, and indices that point to something.
func TestSARIFHasWhatItsSchemaRequires(t *testing.T) {
	t.Parallel()
	report, err := Run(t.Context(), []Item{
		{1, "A thing", scripted{name: "a-thing", run: answer(pass("ok", "fine"), skip("none", "no"))}},
		{2, "Another", scripted{name: "another", run: answer(
			fail("bad", "mend it", "oh").at("dir with space/compose.yaml", 7), warn("meh", "look", "hm").at("/etc/x.pem", 0))}},
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
	if run.Tool.Driver.Name == "" || run.Tool.Driver.Version != "1.2.3" || len(run.Tool.Driver.Rules) != 2 || run.Tool.Driver.Rules[0].Name != "AThing" {
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
		"a-thing/ok pass none", "a-thing/none notApplicable none", "another/bad fail error dir%20with%20space/compose.yaml:7",
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
