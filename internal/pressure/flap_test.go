package pressure_test

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"berth/internal/pressure"
)

// For every load: changes are contiguous, a level improves only after the hold, so that there are at most four changes for each
// hold, and sessions are refused exactly while a level is critical.
func TestLevelsDoNotFlapAndEveryChangeIsReported(t *testing.T) {
	t.Parallel()
	const hold = 15 * time.Second
	rapid.Check(t, func(r *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(
			rapid.Float64Range(0, 1), rapid.Float64Range(0.75, 0.85), rapid.Float64Range(0.9, 1), rapid.SampledFrom([]float64{-1}), // -1: the source fails
		), 1, 60).Draw(r, "values")
		lengths := rapid.SliceOfN(rapid.IntRange(1, 30), len(values), len(values)).Draw(r, "lengths")
		var failure string
		synctest.Test(t, func(t *testing.T) {
			type report struct {
				pressure.Change
				at time.Time
			}
			last := map[pressure.Resource]pressure.Level{} // OK
			rose := map[pressure.Resource]time.Time{}
			var all []report
			w := watch(t, 0, 0, func(o *pressure.Options) {
				o.OnChange = func(c pressure.Change) {
					now := time.Now()
					if last[c.Resource] != c.From || c.From == c.To {
						failure = "a change does not start at the previous level"
					}
					if c.From > pressure.OK && c.To < c.From && c.To != pressure.Unknown && now.Sub(rose[c.Resource]) < hold {
						failure = "a level was left before the hold was over"
					}
					if c.To > c.From {
						rose[c.Resource] = now
					}
					last[c.Resource] = c.To
					all = append(all, report{c, now})
				}
			})
			for i, value := range values {
				w.is(value, value)
				for range lengths[i] {
					pass(time.Second)
					s := w.Snapshot()
					if s.Memory.Level != last[pressure.Memory] || s.CPU.Level != last[pressure.CPU] {
						failure = "a change of level was not reported"
					}
					critical := s.Memory.Level == pressure.Critical || s.CPU.Level == pressure.Critical
					if refused := w.Admit(t.Context()) != nil; refused != critical {
						failure = "what is refused is not what is critical"
					}
				}
			}
			for i, first := range all {
				n := 0
				for _, c := range all[i:] {
					if c.Resource == first.Resource && c.at.Sub(first.at) < hold && c.To != pressure.Unknown && c.From != pressure.Unknown {
						n++
					}
				}
				if n > 4 { // two levels down, when the holds that began before are over, and up again
					failure = "more than four changes within one hold"
				}
			}
		})
		if failure != "" {
			r.Fatal(failure)
		}
	})
}
