package config

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"

	"berth/internal/usage"
)

// Budget limits what may be used. A zero limit is none.
type Budget struct {
	RequestsPerMinute int64   `yaml:"requests_per_minute,omitempty"`
	TokensPerDay      int64   `yaml:"tokens_per_day,omitempty"`  // of the prompt and the answer, cached ones included
	MoneyPerMonth     float64 `yaml:"money_per_month,omitempty"` // in the currency, to a millionth
}

// Bounds of budgets, below which their sums do not overflow.
const (
	mostBudget = 1_000_000_000_000_000
	mostMoney  = 1_000_000_000
)

// Limits returns the budgets as the ledger holds them.
func (b Budgets) Limits() usage.Budgets {
	limits := usage.Budgets{Owner: b.Owner.limits(), Session: b.Session.limits(), Owners: map[string]usage.Budget{}, Currency: b.Currency}
	for name, budget := range b.Owners {
		limits.Owners[name] = budget.limits()
	}
	return limits
}

// withoutCurrency is the part of the budgets that has no variable.
func (b Budgets) withoutCurrency() Budgets {
	b.Currency = ""
	return b
}

func (b Budget) limits() usage.Budget {
	return usage.Budget{
		RequestsPerMinute: b.RequestsPerMinute, TokensPerDay: b.TokensPerDay, MicrosPerMonth: int64(math.Round(b.MoneyPerMonth * 1e6)),
	}
}

// currencyName is the name of a unit: it is a part of sentences.
var currencyName = regexp.MustCompile(`^[^\s\pC%]{0,16}$`)

func (v *checker) budgets(b Budgets) {
	v.that(currencyName.MatchString(b.Currency), "BERTH_CURRENCY", strconv.Quote(b.Currency), "must be a short name like USD, without spaces")
	v.budget("budgets.owner", b.Owner)
	v.budget("budgets.session", b.Session)
	for _, name := range slices.Sorted(maps.Keys(b.Owners)) {
		v.that(name != "", "budgets.owners", "", "must name owners: sessions that nobody owns share no budget, and budgets.session limits them")
		v.budget("budgets.owners."+name, b.Owners[name])
	}
}

func (v *checker) budget(at string, b Budget) {
	between(v, at+".requests_per_minute", b.RequestsPerMinute, 0, mostBudget)
	between(v, at+".tokens_per_day", b.TokensPerDay, 0, mostBudget)
	money := b.MoneyPerMonth
	v.that(money == 0 || money >= 1e-6 && money <= mostMoney, at+".money_per_month", money, "must be 0, for no limit, or between 0.000001 and %d", mostMoney)
}
