package pressure

import (
	"math"
	"time"
)

// clearly is how far below a threshold a value must fall, as a fraction of the threshold, before its level is left: a
// value that oscillates around a threshold would otherwise raise and clear an alert each time.
const clearly = 0.97

// gauge follows one resource.
type gauge struct {
	resource  Resource
	threshold [Critical + 1]float64 // by level
	smoothing time.Duration
	bursty    bool // one look says little: it may have met a burst

	value float64 // smoothed
	level Level
	since time.Time               // of the level
	above [Critical + 1]time.Time // when the value was last not clearly below each threshold
	stall *Stall
}

// first is the elapsed time for the first sample.
const first = time.Duration(math.MaxInt64)

// take smooths a value into the gauge and reports whether the level has changed.
func (g *gauge) take(now time.Time, elapsed, hold time.Duration, value float64) (Change, bool) {
	// An exponentially weighted average needs no history, and weights by time, not by number of samples.
	if g.bursty && elapsed == first {
		value = min(value, g.exit(Warning))
	}
	weight := 1 - math.Exp(-elapsed.Seconds()/g.smoothing.Seconds())
	g.value += weight * (value - g.value)
	before := g.level
	g.level = g.judge(now, hold)
	if g.since.IsZero() || g.level != before {
		g.since = now
	}
	if g.level == before {
		return Change{}, false
	}
	return Change{
		Resource: g.resource, From: before, To: g.level, Value: g.value, Threshold: g.threshold[max(before, g.level)],
	}, true
}

// judge returns the level for the present value. A level is reached at once, and left when the value has been clearly
// below its threshold for as long as hold.
func (g *gauge) judge(now time.Time, hold time.Duration) Level {
	level := OK
	for l := Warning; l <= Critical; l++ {
		if g.value >= g.exit(l) {
			g.above[l] = now
		}
		if g.value >= g.threshold[l] || g.level >= l && now.Sub(g.above[l]) < hold {
			level = l
		}
	}
	return level
}

// exit is where a value is clearly below a level's threshold.
func (g *gauge) exit(l Level) float64 { return g.threshold[l] * clearly }
