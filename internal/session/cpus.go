package session

import (
	"fmt"
	"math"
	"strconv"
)

// CPUs is a share of processor time, in billionths of one CPU: 1_500_000_000 is one and a half. It is exact where runtimes
// count in microseconds: [CPUsOf] and [CPUs.In] with the same period, of a second at most, return the time as it was.
type CPUs int64

// OneCPU is all the time of one processor.
const OneCPU CPUs = 1e9

// CPUsOf is the share of a server that may use so much processor time in every period. Both are in the same unit, and above 0.
func CPUsOf(time, period int64) CPUs {
	return CPUs((time*int64(OneCPU) + period/2) / period)
}

// In returns how much processor time the share is in a period, in the period's unit, rounded. It is 0 only for no share:
// runtimes take no time for no limit.
func (c CPUs) In(period int64) int64 {
	if c <= 0 {
		return 0
	}
	return max(1, (int64(c)*period+int64(OneCPU)/2)/int64(OneCPU))
}

// ParseCPUs reads a number of CPUs, like "1.5".
func ParseCPUs(text string) (CPUs, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > maxCPUs {
		return 0, fmt.Errorf("%q is not a number of CPUs; write it like 0.5 or 2", text)
	}
	return CPUs(math.Round(n * float64(OneCPU))), nil
}

// maxCPUs is more than any host has.
const maxCPUs = 1 << 20

// UnmarshalText reads a number of CPUs; see [ParseCPUs].
func (c *CPUs) UnmarshalText(text []byte) error {
	n, err := ParseCPUs(string(text))
	if err != nil {
		return err
	}
	*c = n
	return nil
}

// MarshalText writes the number of CPUs as String does.
func (c CPUs) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String writes the number of CPUs: "1.5".
func (c CPUs) String() string { return strconv.FormatFloat(float64(c)/float64(OneCPU), 'f', -1, 64) }
