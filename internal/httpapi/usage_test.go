package httpapi_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
	"berth/internal/usage"
)

// newLedger returns a ledger with budgets of alice and of sessions.
func newLedger(t *testing.T, now func() time.Time) *usage.Ledger {
	t.Helper()
	store, err := jsonfile.OpenUsage(filepath.Join(t.TempDir(), "usage"), jsonfile.UsageOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	l, err := usage.NewLedger(store, usage.Options{Now: now, Budgets: usage.Budgets{
		Currency: "EUR", Owners: map[string]usage.Budget{"alice": {MicrosPerMonth: 5_000_000}}, Session: usage.Budget{TokensPerDay: 1000},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// use makes a call of a session that uses 10 tokens of the prompt and 5 of the answer, which cost 35 micros.
func (w *fixture) use(id session.ID, owner, model string) {
	w.t.Helper()
	r, err := w.usage.Reserve(w.t.Context(), usage.Call{
		Caller: session.Caller{Session: id, Owner: owner}, Provider: "p", Model: model, Price: usage.Price{Input: 2, Output: 3},
		Most: usage.Tokens{Input: 10, Output: 50},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r.Settle(w.t.Context(), usage.Result{Tokens: usage.Tokens{Input: 10, Cached: 4, Output: 5}})
}

func (w *fixture) report(path string, token session.Secret) (r httpapi.UsageReport) {
	w.t.Helper()
	a := w.call(http.MethodGet, path, token.Reveal(), "")
	if a.status != http.StatusOK {
		w.t.Fatalf("%s: got %d %s", path, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *fixture) wantNames(path string, token session.Secret, calls int64, names ...string) httpapi.UsageReport {
	w.t.Helper()
	r := w.report(path, token)
	got := []string{}
	for _, row := range r.Rows {
		got = append(got, row.Name)
	}
	if !cmp.Equal(append([]string{}, names...), got) || r.Total.Calls != calls {
		w.t.Errorf("%s: got %q of %d calls, want %q of %d", path, got, r.Total.Calls, names, calls)
	}
	return r
}

func TestUsageIsShownToWhoMaySeeIt(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	hers, herToken := w.Make(lifecycle.Request{Owner: "alice"})
	his, _ := w.Make(lifecycle.Request{Owner: "bob"})
	nobodys, _ := w.Make(lifecycle.Request{})
	w.use(hers.ID, "alice", "large")
	w.use(hers.ID, "alice", "small")
	w.use(his.ID, "bob", "large")
	w.use(nobodys.ID, "", "large")

	w.wantNames("/usage?by=owner", adminToken, 4, "", "alice", "bob")
	w.wantNames("/usage?by=model", adminToken, 4, "p/large", "p/small")
	w.wantNames("/usage?by=session&owner=bob", adminToken, 1, string(his.ID))
	w.wantNames("/usage?by=owner", alicesToken, 2, "alice")
	w.wantNames("/usage?by=owner&owner=bob", alicesToken, 0)
	if r := w.wantNames("/usage?by=session&session="+string(his.ID), alicesToken, 0); len(r.Budgets) != 1 || r.Budgets[0].Name != "alice" {
		t.Errorf("of bob's session: got the budgets %+v, want alice's alone", r.Budgets)
	}
	r := w.wantNames("/sessions/"+string(hers.ID)+"/usage?by=model", herToken, 2, "p/large", "p/small")
	want := httpapi.UsageSum{Calls: 2, Tokens: usage.Tokens{Input: 20, Cached: 8, Output: 10}, Micros: 70, Cost: "0.00007"}
	if diff := cmp.Diff(want, r.Total); diff != "" {
		t.Errorf("total (-want +got):\n%s", diff)
	}
	wantBudgets := []httpapi.UsageBudget{{
		Of: "session", Name: string(hers.ID), Limit: "tokens_per_day", Max: 1000, Used: 30,
		RenewsAt: usage.TokensPerDay.Start(w.Options.Now()).AddDate(0, 0, 1),
	}}
	if diff := cmp.Diff(wantBudgets, r.Budgets); diff != "" {
		t.Errorf("budgets (-want +got):\n%s", diff)
	}
	if r := w.report("/usage", alicesToken); len(r.Budgets) != 1 || r.Budgets[0].Limit != "money_per_month" || r.Budgets[0].Used != 70 || r.Currency != "EUR" {
		t.Errorf("alice's budgets: got %+v", r)
	}
}

func TestUsageIsPaged(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, owner := range []string{"", "alice", "bob"} {
		s, _ := w.Make(lifecycle.Request{Owner: owner})
		w.use(s.ID, owner, "large")
	}
	path := "/usage?by=owner&limit=1"
	for i, name := range []string{"", "alice", "bob"} {
		r := w.wantNames(path, adminToken, 3, name)
		if (r.Next == "") != (i == 2) {
			t.Errorf("after %q: got the next page %q", name, r.Next)
		}
		path = "/usage?by=owner&limit=1&after=" + r.Next
	}
}

func TestQuestionsForUsageThatCannotBeAnsweredAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, query := range []string{
		"owner=", "session=", "Owner=alice", "by=provider", "from=2026-02-30", "from=yesterday", "from=2026-02-02&to=2026-02-01",
		"from=2020-01-01&to=2026-01-01", "after=x", "limit=1001", "from=2026-01-01&from=2026-01-02", "owner=" + strings.Repeat("a", 256),
	} {
		if a := w.call(http.MethodGet, "/usage?"+query, adminToken, ""); a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want a refusal", query, a.status, a.body)
		}
	}
}
