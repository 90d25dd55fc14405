package storetest

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth/internal/session"
	"berth/internal/usage"
)

// UsageLedger compares a ledger on a store with plain sums, over random calls in any order and with a clock that goes forward and
// back: no limit is exceeded by more than the answer of one call, and every sum is exact.
func UsageLedger(t *testing.T, open func(t *testing.T) usage.Store) {
	t.Helper()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &ledgerModel{
			now: time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC), used: map[usage.Key]int64{}, over: map[usage.Key]int64{},
			budgets: usage.Budgets{
				Owner:   usage.Budget{TokensPerDay: 2000, MicrosPerMonth: rapid.Int64Range(1000, 9000).Draw(rt, "money"), RequestsPerMinute: 20},
				Session: usage.Budget{TokensPerDay: rapid.Int64Range(100, 1500).Draw(rt, "tokens")},
			},
			prefix: fmt.Sprint(run, "-"),
		}
		l, err := usage.NewLedger(open(t), usage.Options{Budgets: m.budgets, Now: func() time.Time { return m.now }})
		if err != nil {
			rt.Fatal(err)
		}
		m.ledger = l
		rt.Repeat(map[string]func(*rapid.T){
			"reserve": m.reserve,
			"settle":  m.settle,
			"clock": func(rt *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(-40, 60).Draw(rt, "seconds")) * time.Second)
			},
			"": m.check,
		})
	})
}

type ledgerModel struct {
	ledger  *usage.Ledger
	budgets usage.Budgets
	now     time.Time
	prefix  string
	calls   []modelCall
	used    map[usage.Key]int64
	over    map[usage.Key]int64 // the largest answer of a call that was admitted
}

type modelCall struct {
	usage.Reservation
	caller session.Caller
	at     time.Time
	most   usage.Tokens
}

func (m *ledgerModel) keys(c session.Caller, at time.Time) []usage.Key {
	keys := []usage.Key{{Holder: usage.Holder{Kind: usage.SessionHolder, Name: string(c.Session)}, Kind: usage.TokensPerDay, Start: usage.TokensPerDay.Start(at)}}
	if c.Owner != "" {
		holder := usage.Holder{Kind: usage.OwnerHolder, Name: c.Owner}
		keys = append(keys, usage.Key{Holder: holder, Kind: usage.TokensPerDay, Start: usage.TokensPerDay.Start(at)},
			usage.Key{Holder: holder, Kind: usage.MoneyPerMonth, Start: usage.MoneyPerMonth.Start(at)})
	}
	return keys
}

// price is one micro for each token of a prompt, and three for each of an answer.
var price = usage.Price{Input: 1, Output: 3}

func amount(k usage.Key, t usage.Tokens) int64 {
	if k.Kind == usage.MoneyPerMonth {
		return price.Cost(t)
	}
	return t.Sum()
}

func (m *ledgerModel) reserve(rt *rapid.T) {
	c := session.Caller{
		Session: session.ID(m.prefix + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "session")),
		Owner:   rapid.SampledFrom([]string{"", m.prefix + "alice"}).Draw(rt, "owner"),
	}
	most := usage.Tokens{Input: rapid.Int64Range(0, 200).Draw(rt, "prompt"), Output: rapid.Int64Range(0, 400).Draw(rt, "answer")}
	r, err := m.ledger.Reserve(rt.Context(), usage.Call{Caller: c, Provider: "p", Model: "m", Price: price, Most: most})
	if err != nil {
		if session.CodeOf(err) != session.CodeBudget {
			rt.Fatal(err)
		}
		return
	}
	m.calls = append(m.calls, modelCall{r, c, m.now, most})
	for _, k := range m.keys(c, m.now) {
		m.over[k] = max(m.over[k], amount(k, usage.Tokens{Output: most.Output}))
	}
}

func (m *ledgerModel) settle(rt *rapid.T) {
	if len(m.calls) == 0 {
		rt.Skip("no call is in progress")
	}
	i := rapid.IntRange(0, len(m.calls)-1).Draw(rt, "call")
	c := m.calls[i]
	m.calls = append(m.calls[:i:i], m.calls[i+1:]...)
	result := usage.Result{Failed: rapid.Bool().Draw(rt, "failed"), Tokens: usage.Tokens{
		Input: rapid.Int64Range(0, c.most.Input).Draw(rt, "input"), Output: rapid.Int64Range(0, c.most.Output).Draw(rt, "output"),
	}}
	c.Settle(rt.Context(), result)
	if result.Failed {
		return
	}
	for _, k := range m.keys(c.caller, c.at) {
		m.used[k] += amount(k, result.Tokens)
	}
}

func (m *ledgerModel) check(rt *rapid.T) {
	states, err := m.ledger.BudgetsOf(rt.Context(), usage.Holder{Kind: usage.OwnerHolder, Name: m.prefix + "alice"},
		usage.Holder{Kind: usage.SessionHolder, Name: m.prefix + "a"})
	if err != nil {
		rt.Fatal(err)
	}
	for _, s := range states {
		k := usage.Key{Holder: s.Holder, Kind: s.Kind, Start: s.Kind.Start(m.now)}
		if s.Kind == usage.RequestsPerMinute {
			if s.Now.Used > s.Max {
				rt.Fatalf("%d requests of at most %d", s.Now.Used, s.Max)
			}
			continue
		}
		var held int64
		for _, c := range m.calls {
			for _, of := range m.keys(c.caller, c.at) {
				if of == k {
					held += amount(k, c.most)
				}
			}
		}
		if s.Now.Used != m.used[k] || s.Now.Held != held {
			rt.Fatalf("%s of %s: got %+v, want %d used and %d held", k.Kind, k.Holder.Name, s.Now, m.used[k], held)
		}
		if s.Now.Used+s.Now.Held > s.Max+m.over[k] {
			rt.Fatalf("%s of %s: %+v exceeds %d by more than one answer of %d", k.Kind, k.Holder.Name, s.Now, s.Max, m.over[k])
		}
	}
}
