package usage_test

import (
	"math"
	"testing"

	"berth/internal/usage"
)

func TestCostIsRoundedOnceHalfUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		price  usage.Price
		tokens usage.Tokens
		want   int64
	}{
		{usage.Price{}, usage.Tokens{Input: 1_000_000, Output: 1_000_000}, 0},
		{usage.Price{Input: 3, Output: 15}, usage.Tokens{Input: 1_000_000, Output: 1_000_000}, 18_000_000},
		{usage.Price{Input: 0.1}, usage.Tokens{Input: 3}, 0},                                                            // 0.3
		{usage.Price{Input: 0.1}, usage.Tokens{Input: 5}, 1},                                                            // 0.5
		{usage.Price{Input: 0.1, Output: 0.1}, usage.Tokens{Input: 3, Output: 3}, 1},                                    // 0.6: not each by itself
		{usage.Price{Input: 0.15, Cached: 0.075, Output: 0.6}, usage.Tokens{Input: 1000, Cached: 400, Output: 50}, 150}, // 90 + 30 + 30
		{usage.Price{Input: 2}, usage.Tokens{Input: 10, Cached: 10}, 20},
		{usage.Price{Input: 2}, usage.Tokens{Input: 10, Cached: 50, Output: -7}, 20},
		{usage.Price{Input: math.Inf(1), Output: math.NaN()}, usage.Tokens{Input: math.MaxInt64, Output: math.MaxInt64}, 1_000_000_000_000},
		{usage.Price{Input: -3}, usage.Tokens{Input: 100}, 0},
	} {
		if got := test.price.Cost(test.tokens); got != test.want {
			t.Errorf("%+v of %+v: got %d micros, want %d", test.price, test.tokens, got, test.want)
		}
	}
}

func TestMoneyHasAtLeastTwoDecimals(t *testing.T) {
	t.Parallel()
	for micros, want := range map[int64]string{0: "0.00", 1: "0.000001", 50_000_000: "50.00", 1_234_567_890_000: "1,234,567.89", -1_500_000: "-1.50"} {
		if got := usage.Money(micros); got != want {
			t.Errorf("%d: got %s, want %s", micros, got, want)
		}
	}
}
