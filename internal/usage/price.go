package usage

import (
	"math"
	"math/bits"
)

// Bounds of what one call can count. A provider that reports more is not believed: its answer must not overflow sums.
const (
	mostTokens = 1_000_000_000         // of one kind
	mostMicros = 1_000_000_000_000     // a million of the operator's currency
	mostPrice  = 1_000_000_000_000_000 // micros for a million tokens
	perPrice   = 1_000_000             // tokens that a price is for
)

// Sum is all tokens: the prompt and the answer.
func (t Tokens) Sum() int64 { return t.Input + t.Output }

// sane returns t without impossible counts: none is negative or above [mostTokens], and no more of the prompt was cached than
// there was.
func (t Tokens) sane() Tokens {
	t.Input, t.Output = min(max(t.Input, 0), mostTokens), min(max(t.Output, 0), mostTokens)
	t.Cached = min(max(t.Cached, 0), t.Input)
	return t
}

// Cost is what tokens cost, in millionths of the currency, rounded half up once for all of them. A price counts in steps of a
// millionth of the currency for a million tokens. The result is at most a million of the currency.
func (p Price) Cost(t Tokens) int64 {
	t = t.sane()
	input, output, cached := micros(p.Input), micros(p.Output), micros(p.Cached)
	if cached == 0 {
		cached = input
	}
	var high, low uint64
	for _, part := range [][2]uint64{
		{uint64(t.Input - t.Cached), input}, {uint64(t.Cached), cached}, {uint64(t.Output), output},
	} {
		h, l := bits.Mul64(part[0], part[1])
		var carry uint64
		low, carry = bits.Add64(low, l, 0)
		high += h + carry // three products of at most 10^24
	}
	low, carry := bits.Add64(low, perPrice/2, 0)
	high += carry
	if high >= perPrice {
		return mostMicros
	}
	cost, _ := bits.Div64(high, low, perPrice)
	return int64(min(cost, mostMicros))
}

// micros converts a price of a million tokens.
func micros(price float64) uint64 {
	if !(price > 0) { // NaN too
		return 0
	}
	return uint64(min(math.Round(price*1e6), mostPrice))
}
