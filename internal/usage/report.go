package usage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"berth/internal/session"
)

// BudgetState is a limit and what is used of it.
type BudgetState struct {
	Holder   Holder
	Kind     Kind
	Max      int64
	Now      Counter
	RenewsAt time.Time
}

// BudgetsOf returns the budgets of holders in their present periods; those without a limit are left out.
func (l *Ledger) BudgetsOf(ctx context.Context, of ...Holder) ([]BudgetState, error) {
	budgets, now := l.budgets.Load(), l.now()
	var all []BudgetState
	var keys []Key
	for _, holder := range of {
		budget := budgets.Of(holder)
		for _, limit := range []BudgetState{
			{Kind: RequestsPerMinute, Max: budget.RequestsPerMinute},
			{Kind: TokensPerDay, Max: budget.TokensPerDay},
			{Kind: MoneyPerMonth, Max: budget.MicrosPerMonth},
		} {
			if limit.Max <= 0 {
				continue
			}
			key := Key{holder, limit.Kind, limit.Kind.Start(now)}
			limit.Holder, limit.RenewsAt = holder, key.Kind.End(key.Start)
			all, keys = append(all, limit), append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	counters, err := l.store.Counters(ctx, keys)
	for i, key := range keys {
		all[i].Now = counters[key]
	}
	return all, err
}

// Sum returns one page of what was used.
func (l *Ledger) Sum(ctx context.Context, q Query) (Page, error) { return l.store.Sum(ctx, q) }

// failure says what is used up, and when it renews.
func (r Refusal) failure(now time.Time, currency string) error {
	limit, key := r.Limit, r.Limit.Key
	count, what := grouped, ""
	switch key.Kind {
	case TokensPerDay:
		what = "today's %s tokens"
	case RequestsPerMinute:
		what = "this minute's %s requests"
	case MoneyPerMonth:
		count, what = func(micros int64) string { return strings.TrimSpace(Money(micros) + " " + currency) }, "this month's %s"
	}
	text := fmt.Sprintf(what+" of %s %s are used up: %s used", count(limit.Max), key.Holder.Kind, key.Holder.Name, count(r.Now.Used))
	if r.Now.Held > 0 {
		text += fmt.Sprintf(", %s held by running calls", count(r.Now.Held))
	}
	renewal := key.Kind.End(key.Start)
	text += ", renewed at " + renewal.Format(time.RFC3339)
	after := max(renewal.Sub(now), time.Second)
	if limit.Admits(Counter{Used: r.Now.Used}) {
		text += ", or earlier when running calls end"
		after = min(after, runningRetry)
	} else if r.Now.Used < limit.Max {
		text += fmt.Sprintf("; this call needs %s", count(limit.Least))
	}
	return session.Errorf(session.CodeBudget, "%s", text).After(after)
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Money writes millionths of a currency with at least two decimals.
func Money(micros int64) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	fraction := strings.TrimRight(fmt.Sprintf("%06d", micros%1e6), "0")
	for len(fraction) < 2 {
		fraction += "0"
	}
	return sign + grouped(micros/1e6) + "." + fraction
}
