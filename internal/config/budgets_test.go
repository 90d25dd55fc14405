package config_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/config"
	"berth/internal/usage"
)

func TestBudgetsBecomeLimits(t *testing.T) {
	t.Parallel()
	got := config.Budgets{
		Currency: "EUR", Owner: config.Budget{RequestsPerMinute: 60, TokensPerDay: 5, MoneyPerMonth: 50.1},
		Owners: map[string]config.Budget{"alice": {MoneyPerMonth: 0.000001}}, Session: config.Budget{RequestsPerMinute: 3},
	}.Limits()
	want := usage.Budgets{
		Currency: "EUR", Owner: usage.Budget{RequestsPerMinute: 60, TokensPerDay: 5, MicrosPerMonth: 50_100_000},
		Owners: map[string]usage.Budget{"alice": {MicrosPerMonth: 1}}, Session: usage.Budget{RequestsPerMinute: 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestImpossibleBudgetsAreFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		budgets config.Budgets
		at      string
	}{
		{config.Budgets{Currency: "US D"}, "BERTH_CURRENCY"},
		{config.Budgets{Owner: config.Budget{RequestsPerMinute: -1}}, "budgets.owner.requests_per_minute"},
		{config.Budgets{Session: config.Budget{TokensPerDay: math.MaxInt64}}, "budgets.session.tokens_per_day"},
		{config.Budgets{Owner: config.Budget{MoneyPerMonth: 1e-7}}, "budgets.owner.money_per_month"},
		{config.Budgets{Owners: map[string]config.Budget{"alice": {MoneyPerMonth: math.NaN()}}}, "budgets.owners.alice.money_per_month"},
		{config.Budgets{Owners: map[string]config.Budget{"": {}}}, "budgets.owners"},
	} {
		cfg := config.Default()
		cfg.Budgets = test.budgets
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), test.at) {
			t.Errorf("%+v: got %v, want a fault of %s", test.budgets, err, test.at)
		}
	}
}

func TestChangedBudgetsAreReported(t *testing.T) {
	t.Parallel()
	a, b := config.Default(), config.Default()
	b.Budgets.Session.TokensPerDay = 5
	if got := config.Changed(a, b); !cmp.Equal(got, []string{"budgets"}) {
		t.Errorf("got %v, want the budgets", got)
	}
}
