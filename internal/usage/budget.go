package usage

import (
	"cmp"
	"time"
)

// Budget limits what an owner or a session may use. A zero field is no limit.
type Budget struct {
	RequestsPerMinute int64
	TokensPerDay      int64
	MicrosPerMonth    int64 // millionths of the operator's currency
}

// Budgets are the limits of an installation.
type Budgets struct {
	Owner   Budget            // of every owner who is not in Owners
	Owners  map[string]Budget // replaces Owner as a whole
	Session Budget            // of every session
	// Currency names the unit of prices and of money in messages, like USD. It is text only.
	Currency string
}

// Holder is who has a budget.
type Holder struct {
	Kind HolderKind
	Name string // of the owner, or the session's ID
}

// HolderKind is the kind of a Holder.
type HolderKind string

// Every kind.
const (
	OwnerHolder   HolderKind = "owner"
	SessionHolder HolderKind = "session"
)

// Kind is what a limit counts, in which period.
type Kind string

// Every kind. Periods are those of the calendar in UTC.
const (
	RequestsPerMinute Kind = "requests_per_minute"
	TokensPerDay      Kind = "tokens_per_day" //nolint:gosec // of models
	MoneyPerMonth     Kind = "money_per_month"
)

// Start is when the period of an instant begins.
func (k Kind) Start(at time.Time) time.Time {
	at = at.UTC()
	year, month, day := at.Date()
	switch k {
	case RequestsPerMinute:
		return at.Truncate(time.Minute)
	case TokensPerDay:
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	default:
		return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	}
}

// End is when the period that begins at start ends, and what it limits renews.
func (k Kind) End(start time.Time) time.Time {
	switch k {
	case RequestsPerMinute:
		return start.Add(time.Minute)
	case TokensPerDay:
		return start.AddDate(0, 0, 1)
	default:
		return start.AddDate(0, 1, 0)
	}
}

// Key names one counter: what a holder uses in one period.
type Key struct {
	Holder Holder
	Kind   Kind
	Start  time.Time // of the period
}

// Compare orders keys. All stores change counters in this order, so that two calls cannot wait for each other.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Holder.Kind, other.Holder.Kind), cmp.Compare(k.Holder.Name, other.Holder.Name),
		cmp.Compare(k.Kind, other.Kind), k.Start.Compare(other.Start))
}

// Counter is what a holder has used in a period.
type Counter struct {
	Used int64
	Held int64 // by calls in progress
}

// Limit is the maximum of a counter, for one call.
type Limit struct {
	Key   Key
	Max   int64
	Most  int64 // the call can add
	Least int64 // the call adds in any case, as far as it is known; at least 1
}

// Admits reports whether the call may be made. It is if everything that is used and held leaves room for the most that the call
// can use. A call that alone can use more than is left is made if nothing else is in progress and there is room for its prompt:
// otherwise the rest of a budget could never be used. So a budget can be exceeded by the answer of one call, and no more.
func (l Limit) Admits(now Counter) bool {
	if l.Max-now.Used-now.Held >= max(l.Most, l.Least) {
		return true
	}
	return now.Held == 0 && l.Max-now.Used >= l.Least
}

// limits are the limits of a call.
func (b Budgets) limits(h Hold) (all []Limit) {
	for _, holder := range h.Holders() {
		budget := b.Of(holder)
		for _, limit := range []Limit{
			{Key: Key{Kind: RequestsPerMinute}, Max: budget.RequestsPerMinute, Most: 1},
			{Key: Key{Kind: TokensPerDay}, Max: budget.TokensPerDay, Most: h.Tokens.Sum(), Least: h.Tokens.Input},
			{Key: Key{Kind: MoneyPerMonth}, Max: budget.MicrosPerMonth, Most: h.Micros, Least: h.Prompt},
		} {
			if limit.Max <= 0 {
				continue
			}
			limit.Key.Holder, limit.Key.Start, limit.Least = holder, limit.Key.Kind.Start(h.At), max(limit.Least, 1)
			all = append(all, limit)
		}
	}
	return all
}

// Of is the budget of a holder.
func (b Budgets) Of(h Holder) Budget {
	if h.Kind == SessionHolder {
		return b.Session
	}
	if budget, named := b.Owners[h.Name]; named {
		return budget
	}
	return b.Owner
}
