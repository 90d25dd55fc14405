package usage

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the parts of a Ledger. The zero value is usable.
type Options struct {
	Budgets Budgets
	Journal Journal          // nil: what the store does not take is kept in memory only
	Now     func() time.Time // default: time.Now
	Logger  *slog.Logger     // default: discards

	// Settled is called for each call that has ended; failed: the provider refused it. nil: not called.
	Settled func(h Hold, used Use, failed bool)
	// Refused is called for each call that a budget does not admit. nil: not called.
	Refused func(l Limit)
}

// remembered is a refusal that is repeated for a while.
type remembered struct {
	max   int64 // of the limit
	now   Counter
	until time.Time
}

// Ledger counts what sessions use, and holds their budgets. It keeps nothing itself: its store does. It is safe for concurrent
// use, and by several processes on one store.
type Ledger struct {
	store   Store
	opts    Options
	budgets atomic.Pointer[Budgets]
	unsent  unsent

	mu        sync.Mutex
	exhausted map[Key]remembered // limits that admit no call of a holder
}

var _ Meter = (*Ledger)(nil)

const (
	settleTimeout = 10 * time.Second
	retryEvery    = time.Second
	// runningRetry is when a call may be repeated that only other calls in progress prevent.
	runningRetry = 5 * time.Second
	// mostExhausted bounds the refusals that are remembered; more are asked of the store again.
	mostExhausted = 10_000
	// rememberedFor is for how long a refusal is repeated: what was used may be corrected, and budgets may change.
	rememberedFor = 5 * time.Second
	mostName      = 256 // bytes of a name of a model
)

// NewLedger makes a ledger, with the settlements of its journal that have not reached the store yet.
func NewLedger(store Store, opts Options) (*Ledger, error) {
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Settled == nil {
		opts.Settled = func(Hold, Use, bool) {}
	}
	if opts.Refused == nil {
		opts.Refused = func(Limit) {}
	}
	l := &Ledger{store: store, opts: opts, exhausted: map[Key]remembered{}}
	l.SetBudgets(opts.Budgets)
	return l, l.unsent.load(opts.Journal)
}

// SetBudgets replaces the budgets. What was used before counts for the new ones; requests count from now on where they were not
// limited.
func (l *Ledger) SetBudgets(b Budgets) {
	l.budgets.Store(&b)
}

// Currency names the unit of money.
func (l *Ledger) Currency() string { return l.budgets.Load().Currency }

// Reserve implements [Meter].
func (l *Ledger) Reserve(ctx context.Context, call Call) (Reservation, error) {
	most := call.Most.sane()
	h := Hold{
		ID: rand.Text(), At: l.now(), Session: call.Caller.Session, Owner: call.Caller.Owner,
		Provider: name(call.Provider), Model: name(call.Model),
		Tokens: most, Micros: call.Price.Cost(most), Prompt: call.Price.Cost(Tokens{Input: most.Input, Cached: most.Cached}),
	}
	budgets := *l.budgets.Load()
	limits := budgets.limits(h)
	refused := l.knownRefusal(limits, h.At)
	if refused == nil {
		var err error
		if refused, err = l.store.Reserve(ctx, h, limits); err != nil {
			l.unsent.cancel(h) // the answer may have been lost
			return nil, err
		}
		if refused != nil {
			l.remember(*refused, h.At)
		}
	}
	if refused != nil {
		l.opts.Refused(refused.Limit)
		return nil, refused.failure(h.At, budgets.Currency)
	}
	return &reservation{ledger: l, hold: h, price: call.Price}, nil
}

func (l *Ledger) now() time.Time { return l.opts.Now().UTC().Truncate(time.Microsecond) }

// name returns the name of a model or a provider as every store can keep it.
func name(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) > mostName {
		text = strings.ToValidUTF8(text[:mostName], "")
	}
	return text
}

// knownRefusal returns the remembered refusal of a limit: a client that repeats its calls without a pause must not cost the store
// a transaction each time.
func (l *Ledger) knownRefusal(limits []Limit, now time.Time) *Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, limit := range limits {
		if known, ok := l.exhausted[limit.Key]; ok && known.max == limit.Max && now.Before(known.until) {
			return &Refusal{Limit: limit, Now: known.now}
		}
	}
	return nil
}

// remember keeps a refusal for a while, if no call is admitted whatever those in progress will have used.
func (l *Ledger) remember(r Refusal, now time.Time) {
	if r.Now.Used < r.Limit.Max {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.exhausted) >= mostExhausted {
		clear(l.exhausted)
	}
	l.exhausted[r.Limit.Key] = remembered{max: r.Limit.Max, now: Counter{Used: r.Now.Used}, until: now.Add(rememberedFor)}
}

// reservation implements [Reservation].
type reservation struct {
	ledger *Ledger
	hold   Hold
	price  Price
	once   sync.Once
}

// Settle implements [Reservation].
func (r *reservation) Settle(ctx context.Context, result Result) {
	r.once.Do(func() {
		var used Use
		if !result.Failed {
			tokens := result.Tokens.sane()
			used = Use{Calls: 1, Tokens: tokens, Micros: r.price.Cost(tokens)}
			if result.Estimated {
				used.Estimated = tokens.Sum()
			}
		}
		r.ledger.settle(ctx, Settlement{r.hold, used})
		r.ledger.opts.Settled(r.hold, used, result.Failed)
	})
}

// settle gives a settlement to the store, or keeps it until the store takes it.
func (l *Ledger) settle(ctx context.Context, s Settlement) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	err := l.store.Settle(ctx, s.Hold, s.Used)
	if err == nil {
		return
	}
	l.opts.Logger.WarnContext(ctx, "usage of a call was not written, retrying", "session_id", s.Hold.Session, "error", err)
	if err := l.unsent.add(s); err != nil {
		l.opts.Logger.ErrorContext(ctx, "usage of a call is in memory only, because its journal cannot be written", "error", err)
	}
}

// forget removes refusals that are no longer repeated.
func (l *Ledger) forget() {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, known := range l.exhausted {
		if !now.Before(known.until) {
			delete(l.exhausted, key)
		}
	}
}
