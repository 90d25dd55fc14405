package session

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
