package usage

import (
	"context"
	"slices"
	"time"

	"berth/internal/session"
)

// Store keeps what was used, and what calls in progress hold. Every method may return a CodeStoreUnavailable failure, and nothing
// has changed then, as far as the store knows.
type Store interface {
	// Reserve adds a hold and its charges, if every limit admits it. Otherwise it changes nothing, and returns the first limit
	// that does not. It is atomic, also with other processes.
	Reserve(ctx context.Context, h Hold, limits []Limit) (*Refusal, error)
	// Settle replaces a hold by what was used, durably. One that is settled already stays so. One that the store has counted
	// by its estimate meanwhile, because its process was thought to have ended, is corrected.
	Settle(ctx context.Context, h Hold, used Use) error
	// Maintain is called about every [MaintainEvery]. It renews the holds of this process, counts those of ended processes by
	// their estimate, and removes records that are older than [KeepDays].
	Maintain(ctx context.Context) error
	// Counters returns counters. One that is missing is zero.
	Counters(ctx context.Context, keys []Key) (map[Key]Counter, error)
	// Sum returns one page of what was used, by groups.
	Sum(ctx context.Context, q Query) (Page, error)
	// Records returns all records, ordered by day. Holds of ended processes are among them by their estimate.
	Records(ctx context.Context) ([]Record, error)
	// Import adds records. Of a record that the store has, the greater numbers remain, so that an import may be repeated. It
	// returns how many were new or greater.
	Import(ctx context.Context, records []Record) (changed int, err error)
}

const (
	// MaintainEvery is the interval of [Store.Maintain].
	MaintainEvery = 30 * time.Second
	// Lease is how long a store believes that a process works which has not called [Store.Maintain].
	Lease = 5 * time.Minute
	// KeepDays is for how many days records are kept.
	KeepDays = 400
)

// Hold is what a call in progress holds.
type Hold struct {
	ID       string
	At       time.Time // of the reservation; the call counts for the day and the month of it
	Session  session.ID
	Owner    string // empty: nobody
	Provider string
	Model    string
	Tokens   Tokens // that the call can use
	Micros   int64  // that they cost
	Prompt   int64  // the part of Micros that is for the prompt
}

// Holders are the holders of the budgets that pay for the call. Sessions that nobody owns share no budget.
func (h Hold) Holders() []Holder {
	all := []Holder{{SessionHolder, string(h.Session)}}
	if h.Owner != "" {
		all = append(all, Holder{OwnerHolder, h.Owner})
	}
	return all
}

// Estimate is what is counted for a call whose process ended before it was settled: everything that it held, because the
// provider may have billed that.
func (h Hold) Estimate() Use {
	return Use{Calls: 1, Tokens: h.Tokens, Estimated: h.Tokens.Sum(), Micros: h.Micros}
}

// Record is what a call used, as a record of its own.
func (h Hold) Record(u Use) Record {
	return Record{
		Day: TokensPerDay.Start(h.At), Session: h.Session, Owner: h.Owner, Provider: h.Provider, Model: h.Model,
		Calls: u.Calls, Tokens: u.Tokens, Estimated: u.Estimated, Micros: u.Micros,
	}
}

// Use is what calls used.
type Use struct {
	Calls     int64  `json:"calls"`
	Tokens    Tokens `json:"tokens"`
	Estimated int64  `json:"estimated_tokens"` // part of the tokens whose count is an estimate
	Micros    int64  `json:"micros"`
}

// Use returns what is counted in a record.
func (r Record) Use() Use {
	return Use{Calls: r.Calls, Tokens: r.Tokens, Estimated: r.Estimated, Micros: r.Micros}
}

// Add returns the sum.
func (u Use) Add(v Use) Use {
	return Use{
		u.Calls + v.Calls,
		Tokens{u.Tokens.Input + v.Tokens.Input, u.Tokens.Cached + v.Tokens.Cached, u.Tokens.Output + v.Tokens.Output},
		u.Estimated + v.Estimated, u.Micros + v.Micros,
	}
}

// Sub returns the difference.
func (u Use) Sub(v Use) Use {
	return u.Add(Use{-v.Calls, Tokens{-v.Tokens.Input, -v.Tokens.Cached, -v.Tokens.Output}, -v.Estimated, -v.Micros})
}

// Greater returns the greater number of each field.
func (u Use) Greater(v Use) Use {
	return Use{
		max(u.Calls, v.Calls),
		Tokens{max(u.Tokens.Input, v.Tokens.Input), max(u.Tokens.Cached, v.Tokens.Cached), max(u.Tokens.Output, v.Tokens.Output)},
		max(u.Estimated, v.Estimated), max(u.Micros, v.Micros),
	}
}

// Charge is a change of a counter.
type Charge struct {
	Key   Key
	Delta Counter
	Limit *Limit // of this counter; nil: none
}

// Reserved returns the charges of a reservation, in the order of their keys. Requests are charged where they are limited.
func (h Hold) Reserved(limits []Limit) []Charge {
	all := h.charges(Counter{Held: h.Tokens.Sum()}, Counter{Held: h.Micros})
	for i := range limits {
		limit := &limits[i]
		at, found := slices.BinarySearchFunc(all, limit.Key, func(c Charge, k Key) int { return c.Key.Compare(k) })
		if !found { // requests are used at once
			all = slices.Insert(all, at, Charge{Key: limit.Key, Delta: Counter{Used: 1}})
		}
		all[at].Limit = limit
	}
	return all
}

// Settled returns the charges of a settlement, in the order of their keys.
func (h Hold) Settled(u Use) []Charge {
	return h.charges(Counter{u.Tokens.Sum(), -h.Tokens.Sum()}, Counter{u.Micros, -h.Micros})
}

// Corrected returns the charges of a settlement of a hold that was counted by its estimate before, in the order of their keys.
func (h Hold) Corrected(u Use) []Charge {
	more := u.Sub(h.Estimate())
	return h.charges(Counter{Used: more.Tokens.Sum()}, Counter{Used: more.Micros})
}

func (h Hold) charges(tokens, money Counter) (all []Charge) {
	for _, holder := range h.Holders() {
		all = append(all,
			Charge{Key: Key{holder, TokensPerDay, TokensPerDay.Start(h.At)}, Delta: tokens},
			Charge{Key: Key{holder, MoneyPerMonth, MoneyPerMonth.Start(h.At)}, Delta: money})
	}
	slices.SortFunc(all, func(a, b Charge) int { return a.Key.Compare(b.Key) })
	return all
}

// Refusal is a limit that does not admit a call, and its counter.
type Refusal struct {
	Limit Limit
	Now   Counter
}
